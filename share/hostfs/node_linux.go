package hostfs

import (
	"bytes"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// A node is one file as found on one mount. There is one of it however often it is
// found, so that descriptors are as many as files.
type node struct {
	// Immutable after adopt.
	fs   *FS
	key  nodeKey
	real uint32 // type on the host, S_IF…
	typ  uint32 // type shown
	rdev uint32 // of a kept device

	desc descriptor
	refs int // guarded by fs.mu
}

// nodeKey has the mount too: one file may be there read-only and writable.
type nodeKey struct {
	id    share.FileID
	mount uint64
}

var _ share.Node = (*node)(nil)

func fileID(st *unix.Statx_t) share.FileID {
	id := share.FileID{Volume: unix.Mkdev(st.Dev_major, st.Dev_minor), File: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Birth = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return id
}

// adopt returns the node of an open file and its attributes. It takes over the O_PATH
// descriptor, in any case.
func (fs *FS) adopt(fd int, st *unix.Statx_t) (*node, share.Attr, error) {
	o, kept := fs.kept(fd, st)
	key := nodeKey{fileID(st), st.Mnt_id}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.nodes[key]
	if n != nil && n.isSame(fd) {
		n.refs++
		if !fs.pool.supply(&n.desc, fd) {
			closeFD(fd)
		}
		return n, n.attrOf(st, o, kept), nil
	}
	n = &node{fs: fs, key: key, real: uint32(st.Mode) & posix.S_IFMT, refs: 1}
	n.typ = n.real
	if kept {
		n.typ = o.typ
		n.rdev = posix.Makedev(o.major, o.minor)
	}
	mnt := fs.mountOf(fd, st)
	if err := fs.pool.add(&n.desc, mnt, fd); err != nil {
		fs.dropMount(mnt)
		closeFD(fd)
		return nil, share.Attr{}, err
	}
	fs.nodes[key] = n
	fs.pool.drop(&n.desc)
	return n, n.attrOf(st, o, kept), nil
}

// isSame tells whether an open file of the same identity is this node's: where times of
// birth are not known, a number may have been used again while the node held nothing.
func (n *node) isSame(fd int) bool {
	if n.key.id.Birth != 0 {
		return true
	}
	n.fs.pool.mu.Lock()
	open, handle := n.desc.fd >= 0, n.desc.handle
	n.fs.pool.mu.Unlock()
	if open {
		return true
	}
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	return err == nil && h.Type() == handle.Type() && bytes.Equal(h.Bytes(), handle.Bytes())
}

// hold returns the node's descriptor until drop.
func (n *node) hold() (int, error) { return n.fs.pool.hold(&n.desc) }

func (n *node) drop() { n.fs.pool.drop(&n.desc) }

// with calls f with the node's descriptor.
func (n *node) with(f func(fd int) error) error {
	fd, err := n.hold()
	if err != nil {
		return err
	}
	defer n.drop()
	return f(fd)
}

// change is with for what changes something.
func (n *node) change(f func(fd int) error) error {
	if n.desc.mnt.readOnly {
		return posix.EROFS
	}
	return n.with(f)
}

// ID returns the file's identity.
func (n *node) ID() share.FileID { return n.key.id }

// Release frees what the node holds.
func (n *node) Release() {
	if n == n.fs.root {
		return
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if n.refs--; n.refs > 0 {
		return
	}
	if n.fs.nodes[n.key] == n {
		delete(n.fs.nodes, n.key)
	}
	n.fs.pool.remove(&n.desc)
	n.fs.dropMount(n.desc.mnt)
}

// Lookup finds a name in a folder.
func (n *node) Lookup(name string) (share.Node, share.Attr, error) {
	child, a, err := n.lookup(name)
	if err != nil {
		return nil, share.Attr{}, err
	}
	return child, a, nil
}

func (n *node) lookup(name string) (*node, share.Attr, error) {
	if err := checkName(name); err != nil {
		return nil, share.Attr{}, err
	}
	dir, err := n.hold()
	if err != nil {
		return nil, share.Attr{}, err
	}
	defer n.drop()
	fd, err := openChild(dir, name, unix.O_PATH, 0)
	if err != nil {
		return nil, share.Attr{}, err
	}
	return n.fs.adoptFD(fd)
}

// adoptFD is adopt for a file that has not been looked at.
func (fs *FS) adoptFD(fd int) (*node, share.Attr, error) {
	st, err := statFD(fd)
	if err != nil {
		closeFD(fd)
		return nil, share.Attr{}, err
	}
	return fs.adopt(fd, &st)
}
