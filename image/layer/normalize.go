package layer

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/image/layer/ext4"
)

const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh." // AUFS' own files, but for the next one
	opaqueMarker   = ".wh..wh..opq"
)

// errOutOfOrder ends a first reading that found entries which the ext4 writer cannot
// take in the order they come.
var errOutOfOrder = errors.New("entries are out of order")

// normalizer tells an ext4 writer of a layer's entries: each path once, parents first,
// links after what they link to.
type normalizer struct {
	t *tree
	w *ext4.Writer // nil: nothing is written, only the tree is built
	// content is how many bytes all files had so far, those that were replaced too.
	content int64
}

func newNormalizer(maxEntries int) (*normalizer, error) {
	t, err := newTree(maxEntries)
	return &normalizer{t: t}, err
}

// scan reads the layer for the first time and writes it to w while entries come in
// an order that can be written. When they do not, it reads on to learn the rest of the
// tree, and returns errOutOfOrder: replay does it then.
func (n *normalizer) scan(r io.Reader, w *ext4.Writer) error {
	n.w = w
	if err := n.putFolder(rootNode); err != nil { // the layer may have no entry for it
		return err
	}
	tr := tar.NewReader(r)
	i := int32(0)
	for ; ; i++ {
		h, err := nextEntry(tr)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := n.entry(i, h, tr); err != nil {
			return entryError(h, err)
		}
	}
	n.t.entries = i
	if n.w == nil {
		return errOutOfOrder
	}
	return nil
}

// conflict says that the tree is no longer what was written.
func (n *normalizer) conflict() { n.w = nil }

// entry applies one entry to the tree and writes what follows from it.
func (n *normalizer) entry(i int32, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	parts, err := splitName(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the root of an image must be a folder")
		}
		return n.folder(rootNode, h)
	}
	base := parts[len(parts)-1]
	for k, p := range parts {
		if strings.HasPrefix(p, metaPrefix) && (p != opaqueMarker || k < len(parts)-1) {
			return nil
		}
	}
	dir, walk, err := n.t.folder(parts[:len(parts)-1], true)
	if err != nil {
		return err
	}
	if walk.conflict {
		n.conflict()
	}
	for _, made := range walk.made {
		if err := n.putFolder(made); err != nil {
			return err
		}
	}
	return n.child(i, h, content, dir, base)
}

// child applies an entry to the folder that it is in.
func (n *normalizer) child(i int32, h *tar.Header, content io.Reader, dir nodeID, base string) error {
	old, have := n.t.child(dir, base)
	switch {
	case base == opaqueMarker:
		n.t.file(dir).opaque = true
		return n.putFolder(dir)
	case strings.HasPrefix(base, whiteoutPrefix):
		return n.whiteout(dir, base[len(whiteoutPrefix):])
	case h.Typeflag == tar.TypeLink:
		return n.link(h, dir, base)
	case h.Typeflag == tar.TypeDir:
		opaque := false
		if have && n.t.file(old).kind != kindFolder {
			opaque = n.t.file(old).kind == kindWhiteout
			n.replace(old)
			have = false
		}
		if !have {
			var err error
			if old, err = n.t.add(dir, base, n.t.addFolder(opaque)); err != nil {
				return err
			}
		}
		return n.folder(old, h)
	}
	if have {
		n.replace(old)
	}
	attr, err := makeAttr(h)
	if err != nil {
		return err
	}
	f := inode{kind: kindOther, source: i}
	if h.Typeflag == tar.TypeSymlink {
		to, err := n.t.names.Add(h.Linkname)
		if err != nil {
			return err
		}
		f.kind, f.detail = kindSymlink, uint32(to)
	}
	if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
		f.kind = kindNull
	}
	n.content += h.Size
	made, err := n.t.add(dir, base, n.t.addFile(f))
	if err != nil {
		return err
	}
	return n.putFile(made, h, attr, content)
}

func (n *normalizer) replace(old nodeID) {
	n.t.remove(old)
	n.conflict()
}

// folder merges an entry into what is known of a folder.
func (n *normalizer) folder(f nodeID, h *tar.Header) error {
	attr, err := makeAttr(h)
	if err != nil {
		return err
	}
	known := n.t.attr(f)
	for k, v := range known.Xattrs {
		if _, ok := attr.Xattrs[k]; !ok {
			setXattr(&attr, k, v)
		}
	}
	*known = attr
	return n.putFolder(f)
}

// whiteout hides name in the layers below. What this layer itself has of that name
// stays, and what lies below a folder of that name is hidden by making it opaque.
func (n *normalizer) whiteout(dir nodeID, name string) error {
	if name == "" || name == "." || name == ".." {
		return errors.New("whiteout without a name")
	}
	old, have := n.t.child(dir, name)
	switch {
	case !have:
		made, err := n.t.add(dir, name, n.t.addFile(inode{kind: kindWhiteout}))
		if err != nil {
			return err
		}
		return n.putWhiteout(made)
	case n.t.file(old).kind == kindFolder:
		n.t.file(old).opaque = true
		return n.putFolder(old)
	}
	return nil
}

func (n *normalizer) link(h *tar.Header, dir nodeID, base string) error {
	parts, err := splitName(h.Linkname)
	if err != nil {
		return err
	}
	target, err := n.t.lookup(parts)
	if err != nil {
		return fmt.Errorf("%w: %q", err, h.Linkname)
	}
	to := n.t.node(target).file
	old, have := n.t.child(dir, base)
	switch {
	case n.t.file(target).kind == kindFolder:
		return fmt.Errorf("%w: %q", errLinkFolder, h.Linkname)
	case have && n.t.node(old).file == to:
		return nil
	case have:
		n.replace(old)
	}
	made, err := n.t.add(dir, base, to)
	if err != nil {
		return err
	}
	return n.putLink(made)
}

// replay writes the tree that scan built, with the contents from a second reading.
func (n *normalizer) replay(r io.Reader, w *ext4.Writer) error {
	n.w = w
	for i := range n.t.files.Len() {
		n.t.files.At(i).inode = 0
	}
	names, err := n.skeleton()
	if err != nil {
		return err
	}
	_, err = n.contents(r, 0, names)
	return err
}

// contents writes those of names, which are in the order of their sources, that come from
// the entries of one tar, of which the first has number i. It returns the others.
func (n *normalizer) contents(r io.Reader, i int32, names []nodeID) ([]nodeID, error) {
	tr := tar.NewReader(r)
	for ; ; i++ {
		h, err := nextEntry(tr)
		if err == io.EOF {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		first := true
		for ; len(names) > 0 && n.t.file(names[0]).source == i; names = names[1:] {
			if first {
				var attr ext4.Attr
				if attr, err = makeAttr(h); err == nil {
					err = n.putFile(names[0], h, attr, tr)
				}
			} else {
				err = n.putLink(names[0])
			}
			if err != nil {
				return nil, entryError(h, err)
			}
			first = false
		}
	}
}

// skeleton writes all folders and whiteouts and returns the other names, in the order of
// the entries that they come from.
func (n *normalizer) skeleton() ([]nodeID, error) {
	sorted, begins := n.t.sorted()
	var names []nodeID
	var walk func(dir nodeID) error
	walk = func(dir nodeID) error {
		if err := n.putFolder(dir); err != nil {
			return err
		}
		for _, child := range sorted[begins[dir]:begins[dir+1]] {
			var err error
			switch n.t.file(child).kind {
			case kindFolder:
				err = walk(child)
			case kindWhiteout:
				err = n.putWhiteout(child)
			default:
				names = append(names, child)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(rootNode); err != nil {
		return nil, err
	}
	slices.SortStableFunc(names, func(a, b nodeID) int {
		return cmp.Compare(n.t.file(a).source, n.t.file(b).source)
	})
	return names, nil
}

func nextEntry(tr *tar.Reader) (*tar.Header, error) {
	h, err := tr.Next()
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("layer is not a whole tar: %w: %w", errdefs.ErrInvalidArgument, err)
	}
	return h, err
}

// entryError names the entry that an error is about. Faults of the entry itself are
// the image's; those of reading and writing keep their kind.
func entryError(h *tar.Header, err error) error {
	name := h.Name
	if len(name) > 256 {
		name = name[:256] + "..."
	}
	if isStreamError(err) {
		return fmt.Errorf("tar entry %q: %w", name, err)
	}
	return fmt.Errorf("tar entry %q: %w: %w", name, err, errdefs.ErrInvalidArgument)
}
