package ntfs

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// node is a share.Node. It holds no handle, since NTFS renames no directory that has any
// open below: each call opens the file by its id, which renames leave as it is.
type node struct {
	b        *Backend // immutable
	f        *inode   // immutable
	root     bool     // immutable
	released atomic.Bool
}

var _ share.Node = (*node)(nil)

// outside is where links lead that lead out of the share.
const outside = "/.host-link-outside-share"

// wrap says what failed. Statuses of NT stay in the chain.
func (n *node) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s file %x: %w", op, n.f.id.Low, err)
}

// node returns a node of an id, and its attributes by an open handle.
func (b *Backend) node(id ntapi.FileID, h ntapi.Handle) (*node, share.Attr, error) {
	n := &node{b: b, f: b.acquire(id)}
	err := b.keepRemoved(n.f, h)
	var a share.Attr
	if err == nil {
		a, err = b.attr(n.f, h)
	}
	if err != nil {
		n.Release()
		return nil, share.Attr{}, err
	}
	return n, a, nil
}

// ID implements share.Node.
func (n *node) ID() share.FileID { return n.b.fileID(n.f.id) }

// Release implements share.Node.
func (n *node) Release() {
	if !n.root && !n.released.Swap(true) {
		n.b.release(n.f)
	}
}

// Attr implements share.Node.
func (n *node) Attr() (a share.Attr, err error) {
	err = n.with(0, func(h ntapi.Handle) error {
		a, err = n.b.attr(n.f, h)
		return err
	})
	return a, n.wrap("stat", err)
}

// StatFS implements share.Node.
func (n *node) StatFS() (share.StatFS, error) {
	v, err := n.b.root.Volume()
	if err != nil {
		return share.StatFS{}, n.wrap("statfs", err)
	}
	const records = 1 << 32 // NTFS makes file records as it needs them
	return share.StatFS{
		Blocks: uint64(v.Units), Free: uint64(v.Free), Available: uint64(v.CallerFree),
		Files: records, FreeFiles: min(records, uint64(v.Free)*4),
		BlockSize: uint32(v.BytesPerUnit), FragmentSize: uint32(v.BytesPerUnit), NameLen: posix.NAME_MAX,
	}, nil
}

// inDir runs do with the node's file open as a directory that has a name.
func (n *node) inDir(do func(dir ntapi.Handle, st ntapi.StatLx) error) error {
	n.b.tree.RLock()
	defer n.b.tree.RUnlock()
	return n.inDirTree(do)
}

func (n *node) inDirTree(do func(dir ntapi.Handle, st ntapi.StatLx) error) error {
	return n.withTree(accessDir, func(h ntapi.Handle) error {
		st, err := h.Stat()
		if err != nil {
			return err
		}
		kind, err := typeOf(st.Attributes, st.ReparseTag)
		switch {
		case err != nil:
			return err
		case kind != posix.S_IFDIR:
			return posix.ENOTDIR
		case n.f.gone.Load():
			return posix.ENOENT
		}
		return do(h, st)
	})
}

// Lookup implements share.Node.
func (n *node) Lookup(name string) (share.Node, share.Attr, error) {
	var child *node
	var a share.Attr
	err := n.inDir(func(dir ntapi.Handle, _ ntapi.StatLx) error {
		x, err := n.b.lookup(dir, n.f, name, 0)
		if err != nil {
			return err
		}
		defer closeQuietly(x.h)
		child, a, err = n.b.node(x.st.ID, x.h)
		return err
	})
	if err != nil {
		return nil, a, n.wrap("lookup in", err)
	}
	return child, a, nil
}

// make creates a file in the directory with its metadata, and leaves it to do to finish;
// when do fails the file goes.
func (n *node) make(name string, how share.New, r ntapi.OpenRequest, do func(h ntapi.Handle, st ntapi.StatLx) error) error {
	host, err := hostName(name)
	if err != nil {
		return err
	}
	return n.inDir(func(dir ntapi.Handle, st ntapi.StatLx) error {
		n.f.wantCase(dir, st)
		return n.b.makeHost(dir, st, host, how, r, do)
	})
}

func (b *Backend) makeHost(dir ntapi.Handle, st ntapi.StatLx, host string, how share.New, r ntapi.OpenRequest, do func(h ntapi.Handle, st ntapi.StatLx) error) error {
	if parent, err := b.mode(st); err == nil && parent&posix.S_ISGID != 0 {
		how.Owner.GID = b.owner(st).GID
		if how.Mode&posix.S_IFMT == posix.S_IFDIR {
			how.Mode |= posix.S_ISGID
		}
	}
	r.Name = host
	r.Share = ntapi.ShareAll
	r.Disposition = ntapi.DispositionCreate
	r.Options |= ntapi.OptionReparsePoint
	r.EAs = newEAs(how)
	h, err := b.open(dir, r)
	if err != nil {
		return err
	}
	made, err := h.Stat()
	if err == nil {
		err = do(h, made)
	}
	if err != nil {
		return errors.Join(err, b.remove(h), h.Close())
	}
	return nil
}

// remove takes away the name that h was opened by, by a handle of its own: h goes on.
func (b *Backend) remove(h ntapi.Handle) error {
	d, err := b.open(h, b.request(ntapi.AccessDelete))
	if err != nil {
		return err
	}
	err = d.SetDisposition(disposeFlags)
	return errors.Join(err, d.Close())
}

const (
	disposeFlags = ntapi.DispositionDelete | ntapi.DispositionPosix | ntapi.DispositionIgnoreReadonly
	renameFlags  = ntapi.RenamePosix | ntapi.RenameIgnoreReadonly
)

// finish makes the node of what make has created, and closes the handle.
func (n *node) finish(h ntapi.Handle, st ntapi.StatLx) (*node, share.Attr, error) {
	child, a, err := n.b.node(st.ID, h)
	if err != nil {
		return nil, a, err
	}
	closeQuietly(h)
	return child, a, nil
}

// Mkdir implements share.Node.
func (n *node) Mkdir(name string, how share.New) (share.Node, share.Attr, error) {
	var child *node
	var a share.Attr
	how.Mode = how.Mode&posix.ModeMask | posix.S_IFDIR
	r := ntapi.OpenRequest{Access: accessDir | ntapi.AccessDelete | ntapi.AccessReadEA, Options: ntapi.OptionDirectory}
	err := n.make(name, how, r, func(h ntapi.Handle, st ntapi.StatLx) error {
		i := n.b.acquire(st.ID)
		defer n.b.release(i)
		i.wantCase(h, st)
		var err error
		child, a, err = n.finish(h, st)
		return err
	})
	if err != nil {
		return nil, a, n.wrap("mkdir in", err)
	}
	return child, a, nil
}

// Mknod implements share.Node.
func (n *node) Mknod(name string, how share.New) (share.Node, share.Attr, error) {
	var point *ntapi.Reparse
	switch how.Mode & posix.S_IFMT {
	case posix.S_IFREG, 0:
		how.Mode |= posix.S_IFREG
	case posix.S_IFIFO:
		point = &ntapi.Reparse{Tag: ntapi.TagLxFIFO}
	case posix.S_IFSOCK:
		point = &ntapi.Reparse{Tag: ntapi.TagUnix}
	case posix.S_IFCHR:
		point = &ntapi.Reparse{Tag: ntapi.TagLxChar}
	case posix.S_IFBLK:
		point = &ntapi.Reparse{Tag: ntapi.TagLxBlock}
	default:
		return nil, share.Attr{}, n.wrap("mknod in", posix.EINVAL)
	}
	return n.special("mknod in", name, how, point)
}

// Symlink implements share.Node.
func (n *node) Symlink(name, target string, o share.Owner) (share.Node, share.Attr, error) {
	if target == "" || len(target) >= posix.PATH_MAX {
		return nil, share.Attr{}, n.wrap("symlink in", posix.ENAMETOOLONG)
	}
	point := ntapi.LxSymlink(target)
	return n.special("symlink in", name, share.New{Mode: posix.S_IFLNK | 0o777, Owner: o}, &point)
}

// special makes a file with a reparse point.
func (n *node) special(op, name string, how share.New, point *ntapi.Reparse) (share.Node, share.Attr, error) {
	var child *node
	var a share.Attr
	r := ntapi.OpenRequest{Access: accessData, Options: ntapi.OptionNonDirectory}
	err := n.make(name, how, r, func(h ntapi.Handle, st ntapi.StatLx) error {
		if point != nil {
			if err := h.SetReparse(*point); err != nil {
				return err
			}
		}
		var err error
		child, a, err = n.finish(h, st)
		return err
	})
	if err != nil {
		return nil, a, n.wrap(op, err)
	}
	return child, a, nil
}

// Readlink implements share.Node.
func (n *node) Readlink() (target string, err error) {
	err = n.with(0, func(h ntapi.Handle) error {
		target, err = n.b.target(h)
		return err
	})
	return target, n.wrap("readlink", err)
}

// target reads a link as guests see it: WSL's as it is, Windows' with slashes; one that
// leads nowhere in the share dangles.
func (b *Backend) target(h ntapi.Handle) (string, error) {
	r, err := h.Reparse()
	if err != nil {
		return "", err
	}
	l, ok := ntapi.DecodeLink(r)
	switch {
	case !ok:
		return "", posix.EINVAL
	case r.Tag == ntapi.TagLxSymlink:
		return l.Target, nil
	case l.Relative:
		return components(l.Target), nil
	}
	rest, within := cutPath(l.Target, b.opt.Path)
	if !within {
		return outside, nil
	}
	here, err := h.Path()
	if err != nil {
		return outside, nil
	}
	top, err := b.root.Path()
	if err != nil {
		return outside, nil
	}
	here, within = cutPath(here, top)
	if !within {
		return outside, nil
	}
	up := strings.Repeat("../", strings.Count(here, `\`))
	if rest = up + components(rest); rest == "" {
		return ".", nil
	}
	return rest, nil
}

// components maps each name of a path of Windows.
func components(path string) string {
	names := strings.Split(strings.Trim(path, `\`), `\`)
	for i, name := range names {
		if name != "." && name != ".." && name != "" {
			names[i] = guestName(name)
		}
	}
	return strings.Join(names, "/")
}

// cutPath returns what of path is below top, which Windows compares without case.
func cutPath(path, top string) (string, bool) {
	trim := func(p string) string {
		return strings.Trim(strings.TrimPrefix(strings.TrimPrefix(p, `\??\`), `\\?\`), `\`)
	}
	if top == "" {
		return "", false
	}
	path, top = trim(path), trim(top)
	if top == "" || strings.EqualFold(path, top) {
		return strings.TrimPrefix(path[min(len(top), len(path)):], `\`), true
	}
	if len(path) > len(top) && path[len(top)] == '\\' && strings.EqualFold(path[:len(top)], top) {
		return path[len(top)+1:], true
	}
	return "", false
}
