package hostfs

import (
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Link gives a file one more name in this folder.
func (n *node) Link(name string, target share.Node) (share.Attr, error) {
	t, ok := target.(*node)
	if !ok || t.fs != n.fs {
		return share.Attr{}, posix.EXDEV
	}
	if err := checkName(name); err != nil {
		return share.Attr{}, err
	}
	if t.typ == posix.S_IFDIR {
		return share.Attr{}, posix.EPERM
	}
	var a share.Attr
	err := n.change(func(dir int) error {
		return t.change(func(fd int) error {
			if err := n.fs.proc.link(fd, dir, name); err != nil {
				return err
			}
			var err error
			a, err = t.attr(fd)
			return err
		})
	})
	return a, err
}

// Unlink removes a name that is not a folder's.
func (n *node) Unlink(name string) error { return n.remove(name, 0) }

// Rmdir removes an empty folder.
func (n *node) Rmdir(name string) error { return n.remove(name, unix.AT_REMOVEDIR) }

func (n *node) remove(name string, flags int) error {
	if err := checkName(name); err != nil {
		return err
	}
	return n.change(func(dir int) error {
		return n.fs.removing(dir, name, func() error { return unix.Unlinkat(dir, name, flags) })
	})
}

// removing calls remove, which takes a name away from its file. A node of that file that
// has lost its descriptor gets one: without a name it could not be opened again.
func (fs *FS) removing(dir int, name string, remove func() error) error {
	fs.going.RLock()
	defer fs.going.RUnlock()
	if fs.closed.Load() == 0 && !fs.pool.crowded() {
		return again(remove)
	}
	fd, err := openChild(dir, name, unix.O_PATH, 0)
	if err != nil {
		return again(remove) // nothing there
	}
	defer func() { closeFD(fd) }()
	if err := again(remove); err != nil {
		return err
	}
	st, err := statFD(fd)
	if err != nil {
		return nil // the name is gone, and that was asked for
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n := fs.nodes[nodeKey{fileID(&st), st.Mnt_id}]; n != nil && n.isSame(fd) && fs.pool.supply(&n.desc, fd) {
		fd = -1
	}
	return nil
}

// Rename moves a name.
func (n *node) Rename(name string, to share.Node, newName string, flags uint32) error {
	t, ok := to.(*node)
	if !ok || t.fs != n.fs {
		return posix.EXDEV
	}
	if flags&^(posix.RENAME_NOREPLACE|posix.RENAME_EXCHANGE) != 0 {
		return posix.EINVAL
	}
	if err := checkName(name); err != nil {
		return err
	}
	if err := checkName(newName); err != nil {
		return err
	}
	return n.change(func(dir int) error {
		return t.change(func(toDir int) error {
			rename := func() error { return unix.Renameat2(dir, name, toDir, newName, uint(flags)) }
			if flags != 0 {
				return again(rename) // no file loses its name
			}
			return n.fs.removing(toDir, newName, rename)
		})
	})
}

// Readlink returns a symbolic link's target.
func (n *node) Readlink() (string, error) {
	if n.typ != posix.S_IFLNK {
		return "", posix.EINVAL
	}
	var target string
	err := n.with(func(fd int) error {
		buf := make([]byte, posix.PATH_MAX)
		read := func() (int, error) { return unix.Readlinkat(fd, "", buf) }
		if n.real == posix.S_IFREG {
			content, err := n.fs.proc.reopen(fd, unix.O_RDONLY)
			if err != nil {
				return err
			}
			defer closeFD(content)
			read = func() (int, error) { return unix.Pread(content, buf, 0) }
		}
		var size int
		if err := again(func() (err error) {
			size, err = read()
			return err
		}); err != nil {
			return err
		}
		if size == len(buf) {
			return posix.ENAMETOOLONG
		}
		target = string(buf[:size])
		return nil
	})
	return target, err
}
