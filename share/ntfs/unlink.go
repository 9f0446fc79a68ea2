package ntfs

import (
	"errors"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// Unlink implements share.Node.
func (n *node) Unlink(name string) error {
	return n.wrap("unlink in", n.removeName(name, func(kind uint32) error {
		if kind == posix.S_IFDIR {
			return posix.EISDIR
		}
		return nil
	}))
}

// Rmdir implements share.Node.
func (n *node) Rmdir(name string) error {
	return n.wrap("rmdir in", n.removeName(name, func(kind uint32) error {
		if kind != posix.S_IFDIR {
			return posix.ENOTDIR
		}
		return nil
	}))
}

// removeName takes a name away whose type is right.
func (n *node) removeName(name string, right func(kind uint32) error) error {
	return n.inDir(func(dir ntapi.Handle, _ ntapi.StatLx) error {
		x, err := n.b.lookup(dir, n.f, name, 0)
		if err != nil {
			return err
		}
		defer closeQuietly(x.h)
		kind, err := typeOf(x.st.Attributes, x.st.ReparseTag)
		if err != nil {
			return err
		}
		if err := right(kind); err != nil {
			return err
		}
		return n.b.dropName(dir, n.f, x)
	})
}

// dropName removes a name that lookup has found.
func (b *Backend) dropName(dir ntapi.Handle, in *inode, x found) error {
	i := b.acquire(x.st.ID)
	defer b.release(i)
	i.meta.Lock()
	defer i.meta.Unlock()
	st, err := x.h.Stat() // its links may be fewer by now
	if err != nil {
		return err
	}
	return b.orphan(i, x.h, st, func() error {
		d, err := b.lookupHost(dir, in, x.name, ntapi.AccessDelete)
		if err != nil {
			return err
		}
		if d.st.ID != x.st.ID {
			return errors.Join(posix.ENOENT, d.h.Close()) // another took its place
		}
		err = d.h.SetDisposition(disposeFlags)
		return errors.Join(err, d.h.Close())
	})
}

// Link implements share.Node.
func (n *node) Link(name string, target share.Node) (a share.Attr, err error) {
	t, ok := target.(*node)
	if !ok || t.b != n.b {
		return a, n.wrap("link in", posix.EXDEV)
	}
	host, err := hostName(name)
	if err != nil {
		return a, n.wrap("link in", err)
	}
	t.f.meta.Lock()
	defer t.f.meta.Unlock()
	err = n.inDir(func(dir ntapi.Handle, st ntapi.StatLx) error {
		n.f.wantCase(dir, st)
		return t.withTree(ntapi.AccessWriteAttributes, func(h ntapi.Handle) error {
			st, err := h.Stat()
			if err != nil {
				return err
			}
			kind, err := typeOf(st.Attributes, st.ReparseTag)
			switch {
			case err != nil:
				return err
			case kind == posix.S_IFDIR || st.Attributes&ntapi.AttributeDirectory != 0:
				return posix.EPERM
			case t.f.hidden.Load():
				if err = n.b.unhide(t.f, h, dir, host); err == nil {
					a, err = n.b.attr(t.f, h)
				}
				return err
			case t.f.gone.Load():
				return posix.ENOENT
			}
			err = n.b.retry(func() error { return h.Link(dir, host, renameFlags) }, ntapi.StatusDeletePending)
			if err != nil {
				return err
			}
			a, err = n.b.attr(t.f, h)
			return err
		})
	})
	if err == nil && t.f.named() {
		err = t.f.unpin()
	}
	return a, n.wrap("link in", err)
}

// named tells whether a file has a name that needs no handle to keep it.
func (i *inode) named() bool { return !i.gone.Load() && !i.hidden.Load() }
