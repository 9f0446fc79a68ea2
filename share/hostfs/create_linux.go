package hostfs

import (
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Files are made with no permissions, get their owner and then their mode, so that the
// process's umask does not matter and nobody else can use them before they are right.

// inherit returns how a file made in a folder has to be: a folder with S_ISGID gives its
// group, and the bit to folders.
func (n *node) inherit(dir int, w share.New) (share.New, error) {
	a, err := n.attr(dir)
	if err != nil {
		return w, err
	}
	if a.Mode&posix.S_ISGID != 0 {
		w.Owner.GID = a.GID
		if w.Mode&posix.S_IFMT == posix.S_IFDIR {
			w.Mode |= posix.S_ISGID
		}
	}
	return w, nil
}

// settle gives a file that was just made, open in any way, its owner and mode.
func (fs *FS) settle(fd int, w share.New) error {
	typ := w.Mode & posix.S_IFMT
	if fs.mapped {
		if err := fs.proc.chmod(fd, fs.hostMode(typ)); err != nil { // the umask may have taken some away
			return err
		}
		return setOverride(fd, override{uid: w.Owner.UID, gid: w.Owner.GID, mode: w.Mode & posix.ModeMask, typ: typ,
			major: posix.Major(w.Rdev), minor: posix.Minor(w.Rdev)})
	}
	if err := again(func() error {
		return unix.Fchownat(fd, "", int(w.Owner.UID), int(w.Owner.GID), unix.AT_EMPTY_PATH)
	}); err != nil {
		return err
	}
	if typ == posix.S_IFLNK {
		return nil
	}
	return fs.proc.chmod(fd, w.Mode&posix.ModeMask)
}

// hostMode is the mode that a new file has on the host before it is settled, and in
// mapped ownership for good.
func (fs *FS) hostMode(typ uint32) uint32 {
	switch {
	case !fs.mapped:
		return 0
	case typ == posix.S_IFDIR:
		return 0o700
	}
	return 0o600
}

// make is the common part of Mkdir, Mknod and Symlink: by makes the file under the name
// in the folder that it is given.
func (n *node) make(name string, w share.New, by func(dir int, w share.New) error) (share.Node, share.Attr, error) {
	if err := checkName(name); err != nil {
		return nil, share.Attr{}, err
	}
	var child *node
	var a share.Attr
	err := n.change(func(dir int) error {
		w, err := n.inherit(dir, w)
		if err != nil {
			return err
		}
		if err := n.fs.pool.room(); err != nil {
			return err
		}
		if err := by(dir, w); err != nil {
			return err
		}
		fd, err := openChild(dir, name, unix.O_PATH, 0)
		if err != nil {
			return err
		}
		child, a, err = n.fs.adoptFD(fd)
		return err
	})
	if err != nil {
		return nil, share.Attr{}, err
	}
	return child, a, nil
}

// settleName settles what was just made under a name, and takes the name away when that
// fails. A file of another type there, or one with more names, was put in its place
// meanwhile: it is left as it is.
func (n *node) settleName(dir int, name string, w share.New) error {
	fd, err := openChild(dir, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	st, err := statFD(fd)
	if err != nil {
		return err
	}
	typ := w.Mode & posix.S_IFMT
	if uint32(st.Mode)&posix.S_IFMT != typ || typ != posix.S_IFDIR && st.Nlink != 1 {
		return posix.ENOENT
	}
	if err := n.fs.settle(fd, w); err != nil {
		removeIf(dir, name, &st)
		return err
	}
	return nil
}

// removeIf takes a name away when it still is that file's.
func removeIf(dir int, name string, want *unix.Statx_t) {
	st, err := statName(dir, name)
	if err != nil || fileID(&st) != fileID(want) {
		return
	}
	flags := 0
	if uint32(st.Mode)&posix.S_IFMT == posix.S_IFDIR {
		flags = unix.AT_REMOVEDIR
	}
	// The error that the caller returns is why the file is not there.
	_ = unix.Unlinkat(dir, name, flags)
}

// Mkdir makes a folder.
func (n *node) Mkdir(name string, w share.New) (share.Node, share.Attr, error) {
	w.Mode = w.Mode&posix.ModeMask | posix.S_IFDIR
	return n.make(name, w, func(dir int, w share.New) error {
		if err := again(func() error { return unix.Mkdirat(dir, name, n.fs.hostMode(posix.S_IFDIR)) }); err != nil {
			return err
		}
		return n.settleName(dir, name, w)
	})
}

// Mknod makes a regular file, FIFO, socket or device.
func (n *node) Mknod(name string, w share.New) (share.Node, share.Attr, error) {
	if w.Mode&posix.S_IFMT == 0 {
		w.Mode |= posix.S_IFREG
	}
	typ := w.Mode & posix.S_IFMT
	return n.make(name, w, func(dir int, w share.New) error {
		switch {
		case typ == posix.S_IFREG:
			fd, err := n.makeRegular(dir, name, unix.O_WRONLY, w)
			closeFD(fd)
			return err
		case typ == posix.S_IFCHR || typ == posix.S_IFBLK, n.fs.mapped && (typ == posix.S_IFIFO || typ == posix.S_IFSOCK):
			return n.makeKept(dir, name, w, "")
		case typ == posix.S_IFIFO || typ == posix.S_IFSOCK:
			if err := again(func() error { return unix.Mknodat(dir, name, typ, 0) }); err != nil {
				return err
			}
			return n.settleName(dir, name, w)
		}
		return posix.EINVAL
	})
}

// Symlink makes a symbolic link.
func (n *node) Symlink(name, target string, o share.Owner) (share.Node, share.Attr, error) {
	if target == "" {
		return nil, share.Attr{}, posix.ENOENT
	}
	if len(target) >= posix.PATH_MAX {
		return nil, share.Attr{}, posix.ENAMETOOLONG
	}
	return n.make(name, share.New{Mode: posix.S_IFLNK | 0o777, Owner: o}, func(dir int, w share.New) error {
		if n.fs.mapped {
			return n.makeKept(dir, name, w, target)
		}
		if err := again(func() error { return unix.Symlinkat(target, dir, name) }); err != nil {
			return err
		}
		return n.settleName(dir, name, w)
	})
}

// makeRegular makes a regular file and returns it open.
func (n *node) makeRegular(dir int, name string, flags int, w share.New) (int, error) {
	fd, err := openChild(dir, name, uint64(flags)|unix.O_CREAT|unix.O_EXCL, uint64(n.fs.hostMode(posix.S_IFREG)))
	if err != nil {
		return -1, err
	}
	if err := n.fs.settle(fd, w); err != nil {
		if st, err := statFD(fd); err == nil {
			removeIf(dir, name, &st)
		}
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

// makeKept makes the regular file that stands for a file that the host shall not have.
// It gets its name last where it can: nobody sees it as what it is not.
func (n *node) makeKept(dir int, name string, w share.New, content string) error {
	fd, err := againFD(func() (int, error) {
		return unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, n.fs.hostMode(posix.S_IFREG))
	})
	named := false
	if err != nil {
		named = true
		fd, err = openChild(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint64(n.fs.hostMode(posix.S_IFREG)))
		if err != nil {
			return err
		}
	}
	defer closeFD(fd)
	err = n.fillKept(fd, w, content)
	if !named && err == nil {
		return n.fs.proc.link(fd, dir, name)
	}
	if named && err != nil {
		if st, err := statFD(fd); err == nil {
			removeIf(dir, name, &st)
		}
	}
	return err
}

func (n *node) fillKept(fd int, w share.New, content string) error {
	if content != "" {
		wrote := 0
		if err := again(func() (err error) {
			wrote, err = unix.Pwrite(fd, []byte(content), 0)
			return err
		}); err != nil {
			return err
		}
		if wrote != len(content) {
			return posix.ENOSPC
		}
	}
	if n.fs.mapped {
		return n.fs.settle(fd, w)
	}
	if err := n.fs.settle(fd, w); err != nil {
		return err
	}
	err := setOverride(fd, override{uid: w.Owner.UID, gid: w.Owner.GID, mode: w.Mode & posix.ModeMask,
		typ: w.Mode & posix.S_IFMT, major: posix.Major(w.Rdev), minor: posix.Minor(w.Rdev)})
	if err == posix.EOPNOTSUPP {
		return posix.EPERM // what mknod(2) says where devices cannot be
	}
	return err
}

// Create makes a regular file and opens it, or opens the one that is there.
func (n *node) Create(name string, flags uint32, w share.New) (share.Node, share.File, share.Attr, error) {
	if err := checkName(name); err != nil {
		return nil, nil, share.Attr{}, err
	}
	w.Mode = w.Mode&posix.ModeMask | posix.S_IFREG
	for tries := 0; ; tries++ {
		if flags&posix.O_EXCL == 0 {
			child, f, a, err := n.openThere(name, flags)
			if err != posix.ENOENT {
				return child, f, a, err
			}
		}
		child, f, a, err := n.createNew(name, flags, w)
		// Made by another meanwhile, and perhaps removed again: as open(2), go on.
		if err == posix.EEXIST && flags&posix.O_EXCL == 0 && tries < 16 {
			continue
		}
		return child, f, a, err
	}
}

func (n *node) openThere(name string, flags uint32) (share.Node, share.File, share.Attr, error) {
	child, _, err := n.lookup(name)
	if err != nil {
		return nil, nil, share.Attr{}, err
	}
	f, err := child.Open(flags)
	if err != nil {
		child.Release()
		return nil, nil, share.Attr{}, err
	}
	a, err := child.Attr() // O_TRUNC has changed them
	if err != nil {
		_ = f.Close() // nothing was written
		child.Release()
		return nil, nil, share.Attr{}, err
	}
	return child, f, a, nil
}

func (n *node) createNew(name string, flags uint32, w share.New) (share.Node, share.File, share.Attr, error) {
	return n.newFile(flags, w, func(dir, how int, w share.New) (int, error) {
		return n.makeRegular(dir, name, how, w)
	})
}

// Tmpfile makes a regular file without a name.
func (n *node) Tmpfile(flags uint32, w share.New) (share.Node, share.File, share.Attr, error) {
	w.Mode = w.Mode&posix.ModeMask | posix.S_IFREG
	return n.newFile(flags, w, func(dir, how int, w share.New) (int, error) {
		how |= unix.O_TMPFILE | int(flags&posix.O_EXCL)
		fd, err := againFD(func() (int, error) {
			return unix.Openat(dir, ".", how|unix.O_CLOEXEC, n.fs.hostMode(posix.S_IFREG))
		})
		if err == posix.EISDIR || err == posix.ENOTDIR && n.typ == posix.S_IFDIR {
			err = posix.EOPNOTSUPP // what kernels and file systems without it say
		}
		if err != nil {
			return -1, err
		}
		if err := n.fs.settle(fd, w); err != nil {
			closeFD(fd)
			return -1, err
		}
		return fd, nil
	})
}

// newFile makes a file by means of by and returns it as a node and open.
func (n *node) newFile(flags uint32, w share.New, by func(dir, how int, w share.New) (int, error)) (share.Node, share.File, share.Attr, error) {
	if err := n.fs.pool.takeFile(); err != nil {
		return nil, nil, share.Attr{}, err
	}
	var child *node
	var f *file
	var a share.Attr
	err := n.change(func(dir int) error {
		w, err := n.inherit(dir, w)
		if err != nil {
			return err
		}
		if err := n.fs.pool.room(); err != nil {
			return err
		}
		// For writing too, whatever is asked: O_TMPFILE wants it, and so may the guest's
		// kernel that reads a page to change a part.
		how := openFlags(flags)&^(unix.O_ACCMODE|unix.O_TRUNC) | unix.O_RDWR
		fd, err := by(dir, how, w)
		if err != nil {
			return err
		}
		path, err := n.fs.proc.reopen(fd, unix.O_PATH)
		if err != nil {
			closeFD(fd)
			return err
		}
		if child, a, err = n.fs.adoptFD(path); err != nil {
			closeFD(fd)
			return err
		}
		f = &file{fs: n.fs, id: child.ID(), fd: fd}
		return nil
	})
	if err != nil {
		n.fs.pool.giveFile()
		return nil, nil, share.Attr{}, err
	}
	return child, f, a, nil
}
