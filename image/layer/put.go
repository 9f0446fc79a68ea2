package layer

import (
	"archive/tar"
	"io"
	"maps"

	"github.com/porthole-run/porthole/image/layer/ext4"
)

// What follows tells the writer of names in the tree. Without a writer nothing is done.

// dir is the folder of the file system that a name goes into.
func (n *normalizer) dir(id nodeID) ext4.Inode {
	if id == rootNode {
		return ext4.Root
	}
	return n.t.file(n.t.node(id).parent).inode
}

// putFolder writes a folder, or says anew what is known of it.
func (n *normalizer) putFolder(id nodeID) (err error) {
	if n.w == nil {
		return nil
	}
	f, attr := n.t.file(id), *n.t.attr(id)
	if f.opaque || f.veiled {
		attr.Xattrs = maps.Clone(attr.Xattrs)
	}
	if f.opaque {
		setXattr(&attr, opaqueXattr, "y")
	}
	if f.veiled {
		setXattr(&attr, originXattr, "")
	}
	if f.inode != 0 {
		return n.w.SetFolder(f.inode, attr)
	}
	f.inode, err = n.w.AddFolder(n.dir(id), n.t.node(id).name, attr)
	return err
}

// putWhiteout writes a whiteout as overlayfs knows it.
func (n *normalizer) putWhiteout(id nodeID) (err error) {
	if n.w == nil {
		return nil
	}
	n.t.file(id).inode, err = n.w.AddCharDevice(n.dir(id), n.t.node(id).name, ext4.Attr{}, 0, 0)
	return err
}

// putLink writes one more name of a file that is written.
func (n *normalizer) putLink(id nodeID) error {
	if n.w == nil {
		return nil
	}
	return n.w.AddLink(n.dir(id), n.t.node(id).name, n.t.file(id).inode)
}

// putFile writes a name that is neither folder, whiteout nor link, with its content. h is
// one that makeAttr found nothing wrong with.
func (n *normalizer) putFile(id nodeID, h *tar.Header, attr ext4.Attr, content io.Reader) (err error) {
	if n.w == nil {
		return nil
	}
	dir, name, f := n.dir(id), n.t.node(id).name, n.t.file(id)
	switch h.Typeflag {
	case tar.TypeSymlink:
		f.inode, err = n.w.AddSymlink(dir, name, attr, ext4.Name(f.detail))
	case tar.TypeChar:
		f.inode, err = n.w.AddCharDevice(dir, name, attr, uint32(h.Devmajor), uint32(h.Devminor))
	case tar.TypeBlock:
		f.inode, err = n.w.AddBlockDevice(dir, name, attr, uint32(h.Devmajor), uint32(h.Devminor))
	case tar.TypeFifo:
		f.inode, err = n.w.AddFifo(dir, name, attr)
	default:
		if f.inode, err = n.w.AddFile(dir, name, attr, h.Size); err == nil {
			_, err = n.w.ReadFrom(content)
		}
	}
	return err
}
