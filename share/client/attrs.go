package client

import (
	"strings"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// target is a file to change: an inode, and the open file that it is changed through.
type target struct {
	n *inode
	f *description // may be nil
}

// Stat implements card.Proc.
func (p *proc) Stat(path string, nofollow bool) (a share.Attr, err error) {
	err = p.on(path, !nofollow, func(n *inode) error {
		a, err = p.attr(n, nil)
		return err
	})
	return a, err
}

// setattr sends a change.
func (p *proc) setattr(t target, in fuse.SetattrIn) error {
	if t.f != nil && t.f.hasFH && !t.n.isDir() && in.Valid&fuse.FattrSize != 0 {
		in.Valid |= fuse.FattrFH
		in.FH = t.f.fh
	}
	d, err := p.k.call(header{fuse.OpSetattr, t.n.id, p}, in)
	if err != nil {
		return err
	}
	var out fuse.AttrOut
	out.Decode(&d)
	if d.Err() != nil || out.Attr.Mode&posix.S_IFMT != t.n.kind {
		return posix.EIO
	}
	return nil
}

func (p *proc) chmod(t target, mode uint32) error {
	a, err := p.attr(t.n, t.f)
	if err != nil {
		return err
	}
	if !p.root() && p.cred.UID != a.UID {
		return posix.EPERM
	}
	mode &= posix.ModeMask
	if !p.root() && !p.inGroup(a.GID) {
		mode &^= posix.S_ISGID
	}
	return p.setattr(t, fuse.SetattrIn{Valid: fuse.FattrMode, Mode: mode | t.n.kind})
}

// Chmod implements card.Proc.
func (p *proc) Chmod(path string, mode uint32) error {
	return p.on(path, true, func(n *inode) error { return p.chmod(target{n: n}, mode) })
}

const unchanged = ^uint32(0)

func (p *proc) chown(t target, uid, gid uint32) error {
	a, err := p.attr(t.n, t.f)
	if err != nil {
		return err
	}
	var in fuse.SetattrIn
	owner := p.cred.UID == a.UID
	if uid != unchanged {
		if !p.root() && !(owner && uid == a.UID) {
			return posix.EPERM
		}
		in.Valid, in.UID = in.Valid|fuse.FattrUID, uid
	}
	if gid != unchanged {
		if !p.root() && !(owner && (gid == a.GID || p.inGroup(gid))) {
			return posix.EPERM
		}
		in.Valid, in.GID = in.Valid|fuse.FattrGID, gid
	}
	return p.setattr(t, in)
}

// Chown implements card.Proc.
func (p *proc) Chown(path string, uid, gid uint32, nofollow bool) error {
	return p.on(path, !nofollow, func(n *inode) error { return p.chown(target{n: n}, uid, gid) })
}

// truncate sends a new size. Who may not keep set-id bits has them cleared.
func (p *proc) truncate(t target, size int64) error {
	in := fuse.SetattrIn{Valid: fuse.FattrSize, Size: uint64(size)}
	if !p.root() && p.k.flags&fuse.HandleKillprivV2 != 0 {
		in.Valid |= fuse.FattrKillSUIDGID
	}
	return p.setattr(t, in)
}

// Truncate implements card.Proc.
func (p *proc) Truncate(path string, size int64) error {
	if size < 0 {
		return posix.EINVAL
	}
	return p.on(path, true, func(n *inode) error {
		switch n.kind {
		case posix.S_IFDIR:
			return posix.EISDIR
		case posix.S_IFREG:
		default:
			return posix.EINVAL
		}
		if err := p.may(n, mayWrite); err != nil {
			return err
		}
		return p.truncate(target{n: n}, size)
	})
}

func (p *proc) utimens(t target, atime, mtime card.Timespec) error {
	a, err := p.attr(t.n, t.f)
	if err != nil {
		return err
	}
	if !p.root() && p.cred.UID != a.UID {
		if !atime.Now || !mtime.Now {
			return posix.EPERM
		}
		if err := p.allowed(a, mayWrite); err != nil {
			return err
		}
	}
	var in fuse.SetattrIn
	if !atime.Omit {
		in.Valid |= fuse.FattrAtime
		in.Atime, in.AtimeNsec = uint64(atime.Sec), atime.Nsec
		if atime.Now {
			in.Valid |= fuse.FattrAtimeNow
		}
	}
	if !mtime.Omit {
		in.Valid |= fuse.FattrMtime
		in.Mtime, in.MtimeNsec = uint64(mtime.Sec), mtime.Nsec
		if mtime.Now {
			in.Valid |= fuse.FattrMtimeNow
		}
	}
	return p.setattr(t, in)
}

// Utimens implements card.Proc.
func (p *proc) Utimens(path string, atime, mtime card.Timespec, nofollow bool) error {
	if atime.Omit && mtime.Omit {
		return nil
	}
	return p.on(path, !nofollow, func(n *inode) error { return p.utimens(target{n: n}, atime, mtime) })
}

// StatFS implements card.Proc.
func (p *proc) StatFS(path string) (s share.StatFS, err error) {
	err = p.on(path, true, func(n *inode) error {
		d, err := p.k.call(header{fuse.OpStatfs, n.id, p}, bare{})
		if err != nil {
			return err
		}
		var out fuse.StatfsOut
		out.Decode(&d)
		s = share.StatFS{Blocks: out.Blocks, Free: out.Bfree, Available: out.Bavail, Files: out.Files, FreeFiles: out.Ffree,
			BlockSize: out.Bsize, FragmentSize: out.Frsize, NameLen: out.NameLen}
		return d.Err()
	})
	return s, err
}

// xattrMay checks what the kernel checks of an attribute's name.
func (p *proc) xattrMay(n *inode, name string, want uint32) error {
	if len(name) == 0 || len(name) > posix.XATTR_NAME_MAX {
		return posix.ERANGE
	}
	refused := posix.EPERM
	if want == mayRead {
		refused = posix.ENODATA
	}
	switch {
	case strings.HasPrefix(name, "trusted."):
		if !p.root() {
			return refused
		}
	case strings.HasPrefix(name, "security."):
		if !p.root() && want == mayWrite {
			return posix.EPERM
		}
	case strings.HasPrefix(name, "user."):
		if n.kind != posix.S_IFREG && !n.isDir() {
			return refused
		}
		a, err := p.attr(n, nil)
		if err != nil {
			return err
		}
		if n.isDir() && a.Mode&posix.S_ISVTX != 0 && want == mayWrite && !p.root() && p.cred.UID != a.UID {
			return posix.EPERM
		}
		return p.allowed(a, want)
	}
	return nil
}

// Getxattr implements card.Proc.
func (p *proc) Getxattr(path, name string, size int) (value []byte, err error) {
	err = p.on(path, false, func(n *inode) error {
		if err := p.xattrMay(n, name, mayRead); err != nil {
			return err
		}
		value, err = p.xattr(header{fuse.OpGetxattr, n.id, p}, size, named(name))
		return err
	})
	return value, err
}

// xattr reads a value or a list; of no size it returns zeros as many as there are.
func (p *proc) xattr(h header, size int, tail ...[]byte) ([]byte, error) {
	d, err := p.k.call(h, fuse.GetxattrIn{Size: uint32(size)}, tail...)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		b := d.Rest()
		if len(b) > size {
			return nil, posix.EIO
		}
		return b, nil
	}
	var out fuse.GetxattrOut
	out.Decode(&d)
	if d.Err() != nil || out.Size > posix.XATTR_SIZE_MAX {
		return nil, posix.EIO
	}
	return make([]byte, out.Size), nil
}

// Setxattr implements card.Proc.
func (p *proc) Setxattr(path, name string, value []byte, flags uint32) error {
	if len(name) == 0 || len(name) > posix.XATTR_NAME_MAX {
		return posix.ERANGE
	}
	if len(value) > posix.XATTR_SIZE_MAX {
		return posix.E2BIG
	}
	return p.on(path, false, func(n *inode) error {
		if err := p.xattrMay(n, name, mayWrite); err != nil {
			return err
		}
		_, err := p.k.call(header{fuse.OpSetxattr, n.id, p}, fuse.SetxattrIn{Size: uint32(len(value)), Flags: flags}, named(name), value)
		return err
	})
}

// Listxattr implements card.Proc.
func (p *proc) Listxattr(path string, size int) (names []string, err error) {
	err = p.on(path, false, func(n *inode) error {
		b, err := p.xattr(header{fuse.OpListxattr, n.id, p}, size)
		if size > 0 {
			names = strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 })
		}
		return err
	})
	return names, err
}

// Removexattr implements card.Proc.
func (p *proc) Removexattr(path, name string) error {
	return p.on(path, false, func(n *inode) error {
		if err := p.xattrMay(n, name, mayWrite); err != nil {
			return err
		}
		_, err := p.k.call(header{fuse.OpRemovexattr, n.id, p}, bare{}, named(name))
		return err
	})
}
