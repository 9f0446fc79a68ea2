package memfs

import (
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// node is a share.Node, of one side.
type node struct {
	fs     *FS
	i      *inode
	origin share.Origin
	root   bool
}

func (n *node) lock() func() {
	n.fs.mu.Lock()
	return n.fs.mu.Unlock
}

// give returns a new node of a file. The caller holds the lock.
func (n *node) give(i *inode) (share.Node, share.Attr) {
	n.fs.nodes++
	return &node{fs: n.fs, i: i, origin: n.origin}, i.current()
}

func (i *inode) current() share.Attr {
	a := i.attr
	a.Blocks = uint64(len(i.pages)) * pageSize / 512
	return a
}

func (n *node) ID() share.FileID { return n.i.attr.ID }

func (n *node) Attr() (share.Attr, error) {
	defer n.lock()()
	return n.i.current(), nil
}

func (n *node) Release() {
	defer n.lock()()
	if !n.root {
		n.fs.nodes--
	}
}

func (n *node) StatFS() (share.StatFS, error) {
	return share.StatFS{Blocks: 1 << 20, Free: 1 << 19, Available: 1 << 19, Files: 1 << 20, FreeFiles: 1 << 19,
		BlockSize: 4096, FragmentSize: 4096, NameLen: posix.NAME_MAX}, nil
}

func (i *inode) kill() {
	if i.attr.Mode&posix.S_IFMT == posix.S_IFREG {
		i.attr.Mode &^= posix.S_ISUID
		if i.attr.Mode&posix.S_IXGRP != 0 {
			i.attr.Mode &^= posix.S_ISGID
		}
	}
	delete(i.xattrs, "security.capability")
}

func (n *node) SetAttr(s share.SetAttr) (share.Attr, error) {
	defer n.lock()()
	i, typ := n.i, n.i.attr.Mode&posix.S_IFMT
	switch {
	case s.Fields&share.SetMode != 0 && typ == posix.S_IFLNK:
		return share.Attr{}, posix.EOPNOTSUPP
	case s.Fields&share.SetSize != 0 && typ == posix.S_IFDIR:
		return share.Attr{}, posix.EISDIR
	case s.Fields&share.SetSize != 0 && typ != posix.S_IFREG:
		return share.Attr{}, posix.EINVAL
	case s.Fields&share.SetSize != 0 && s.Size > maxSize:
		return share.Attr{}, posix.EFBIG
	}
	if s.Fields&(share.SetUID|share.SetGID) != 0 {
		i.kill()
	}
	if s.Fields&share.SetUID != 0 {
		i.attr.UID = s.UID
	}
	if s.Fields&share.SetGID != 0 {
		i.attr.GID = s.GID
	}
	if s.Fields&share.SetMode != 0 {
		i.attr.Mode = typ | s.Mode&posix.ModeMask
	}
	if s.Fields&share.KillSUIDGID != 0 {
		i.kill()
	}
	i.touch(s.Fields&share.SetSize != 0)
	if s.Fields&share.SetSize != 0 {
		i.truncate(s.Size)
		n.fs.tellFile(i, share.EventModify, n.origin)
	}
	for _, t := range []struct {
		now, set share.SetFields
		from     share.Time
		to       *share.Time
	}{{share.SetAtimeNow, share.SetAtime, s.Atime, &i.attr.Atime}, {share.SetMtimeNow, share.SetMtime, s.Mtime, &i.attr.Mtime}} {
		if s.Fields&t.now != 0 {
			*t.to = now()
		} else if s.Fields&t.set != 0 {
			*t.to = t.from
		}
	}
	if s.Fields&^share.SetSize != 0 {
		n.fs.tellFile(i, share.EventAttrib, n.origin)
	}
	return i.current(), nil
}

// dir says whether a name can be made in the folder: which it must be, and have a name.
func (n *node) dir() error {
	if !n.i.isDir() {
		return posix.ENOTDIR
	}
	if n.i.removed {
		return posix.ENOENT
	}
	return nil
}

func (n *node) Lookup(name string) (share.Node, share.Attr, error) {
	defer n.lock()()
	if !n.i.isDir() {
		return nil, share.Attr{}, posix.ENOTDIR
	}
	e, _ := n.i.find(name)
	if e == nil {
		return nil, share.Attr{}, posix.ENOENT
	}
	h, a := n.give(e.file)
	return h, a, nil
}

// make makes a file. The caller holds the lock.
func (n *node) make(name string, w share.New) (*inode, error) {
	if err := n.dir(); err != nil {
		return nil, err
	}
	if e, _ := n.i.find(name); e != nil {
		return nil, posix.EEXIST
	}
	i := n.fs.newInode(w.Mode, w.Owner)
	i.attr.Rdev = w.Rdev
	n.inherit(i)
	n.i.add(name, i)
	n.fs.tell(n.i, n.event(share.EventCreate, name, i))
	return i, nil
}

func (n *node) inherit(i *inode) {
	if n.i.attr.Mode&posix.S_ISGID != 0 {
		i.attr.GID = n.i.attr.GID
		if i.isDir() {
			i.attr.Mode |= posix.S_ISGID
		}
	}
}

func (n *node) event(k share.EventKind, name string, i *inode) share.Event {
	return share.Event{Kind: k, Origin: n.origin, Dir: n.i.attr.ID, Name: name, ID: i.attr.ID, IsDir: i.isDir()}
}

func (n *node) Mkdir(name string, w share.New) (share.Node, share.Attr, error) {
	return n.Mknod(name, w)
}

func (n *node) Mknod(name string, w share.New) (share.Node, share.Attr, error) {
	defer n.lock()()
	i, err := n.make(name, w)
	if err != nil {
		return nil, share.Attr{}, err
	}
	h, a := n.give(i)
	return h, a, nil
}

func (n *node) Symlink(name, target string, o share.Owner) (share.Node, share.Attr, error) {
	defer n.lock()()
	i, err := n.make(name, share.New{Mode: posix.S_IFLNK | 0o777, Owner: o})
	if err != nil {
		return nil, share.Attr{}, err
	}
	i.target, i.attr.Size = target, uint64(len(target))
	h, a := n.give(i)
	return h, a, nil
}

func (n *node) Link(name string, target share.Node) (share.Attr, error) {
	defer n.lock()()
	i := target.(*node).i
	if err := n.dir(); err != nil {
		return share.Attr{}, err
	}
	if i.isDir() {
		return share.Attr{}, posix.EPERM
	}
	if i.attr.Nlink == 0 && !i.linkable {
		return share.Attr{}, posix.ENOENT
	}
	if e, _ := n.i.find(name); e != nil {
		return share.Attr{}, posix.EEXIST
	}
	i.attr.Nlink++
	i.linkable = false
	i.touch(false)
	n.i.add(name, i)
	n.fs.tell(n.i, n.event(share.EventCreate, name, i))
	return i.current(), nil
}

func (n *node) Unlink(name string) error {
	defer n.lock()()
	e, _ := n.i.find(name)
	switch {
	case !n.i.isDir():
		return posix.ENOTDIR
	case e == nil:
		return posix.ENOENT
	case e.file.isDir():
		return posix.EISDIR
	}
	n.drop(name)
	n.fs.tell(n.i, n.event(share.EventRemove, name, e.file))
	return nil
}

// drop takes a name away. The caller holds the lock.
func (n *node) drop(name string) {
	i := n.i.remove(name)
	if i.isDir() {
		i.attr.Nlink, i.removed = 0, true
	} else {
		i.attr.Nlink--
	}
	i.touch(false)
}

func (n *node) Rmdir(name string) error {
	defer n.lock()()
	e, _ := n.i.find(name)
	switch {
	case !n.i.isDir():
		return posix.ENOTDIR
	case e == nil:
		return posix.ENOENT
	case !e.file.isDir():
		return posix.ENOTDIR
	case len(e.file.entries) > 0:
		return posix.ENOTEMPTY
	}
	n.drop(name)
	n.fs.tell(n.i, n.event(share.EventRemove, name, e.file))
	return nil
}

func (n *node) Rename(name string, to share.Node, newName string, flags uint32) error {
	defer n.lock()()
	t := to.(*node)
	if err := t.dir(); err != nil {
		return err
	}
	if flags&^(posix.RENAME_NOREPLACE|posix.RENAME_EXCHANGE) != 0 || flags == posix.RENAME_NOREPLACE|posix.RENAME_EXCHANGE {
		return posix.EINVAL
	}
	from, _ := n.i.find(name)
	if from == nil {
		return posix.ENOENT
	}
	old, _ := t.i.find(newName)
	if below(t.i, from.file) || flags&posix.RENAME_EXCHANGE != 0 && old != nil && below(n.i, old.file) {
		return posix.EINVAL
	}
	e := n.event(share.EventRename, name, from.file)
	e.NewDir, e.NewName = t.i.attr.ID, newName
	switch {
	case flags&posix.RENAME_EXCHANGE != 0:
		if old == nil {
			return posix.ENOENT
		}
		a, b := n.i.remove(name), old.file
		if old != from {
			b = t.i.remove(newName)
		}
		n.i.add(name, b)
		if old != from {
			t.i.add(newName, a)
		}
		n.fs.tell(n.i, n.event(share.EventRemove, name, a))
		n.fs.tell(n.i, n.event(share.EventCreate, name, b))
		n.fs.tell(t.i, t.event(share.EventRemove, newName, b))
		n.fs.tell(t.i, t.event(share.EventCreate, newName, a))
		return nil
	case old != nil && flags&posix.RENAME_NOREPLACE != 0:
		return posix.EEXIST
	case old != nil && old.file == from.file:
		return nil
	case old != nil && old.file.isDir() && !from.file.isDir():
		return posix.EISDIR
	case old != nil && !old.file.isDir() && from.file.isDir():
		return posix.ENOTDIR
	case old != nil && len(old.file.entries) > 0:
		return posix.ENOTEMPTY
	}
	if old != nil {
		t.drop(newName)
	}
	n.i.remove(name)
	t.i.add(newName, from.file)
	from.file.touch(false)
	if n.fs.watched[n.i] > 0 {
		n.fs.tell(n.i, e)
	} else {
		n.fs.tell(t.i, t.event(share.EventCreate, newName, from.file))
	}
	return nil
}

// below tells whether i is dir or in it.
func below(i, dir *inode) bool {
	for ; ; i = i.parent {
		if i == dir {
			return true
		}
		if i == i.parent {
			return false
		}
	}
}

func (n *node) Readlink() (string, error) {
	defer n.lock()()
	if n.i.attr.Mode&posix.S_IFMT != posix.S_IFLNK {
		return "", posix.EINVAL
	}
	return n.i.target, nil
}
