package client

import (
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// inode is a file that the kernel knows. Its parent is kept for "..": only a folder's
// counts. All but id, generation and kind is guarded by Kernel.mu.
type inode struct {
	id, generation uint64
	kind           uint32 // type bits

	lookups uint64 // that the server has given and not had back
	refs    int    // of paths being walked, open files, folders' children, processes
	parent  *inode // holds a reference
	dead    bool   // a folder that this kernel has removed
}

func (n *inode) isDir() bool { return n.kind == posix.S_IFDIR }

// Known returns how many files the kernel knows: with the root 1 when nothing uses any.
func (k *Kernel) Known() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.inodes)
}

// get adds a reference.
func (k *Kernel) get(n *inode) *inode {
	k.mu.Lock()
	defer k.mu.Unlock()
	n.refs++
	return n
}

// put gives one back and forgets what has none.
func (k *Kernel) put(n *inode) {
	for n != nil {
		k.mu.Lock()
		if n.refs--; n.refs > 0 || n.id == fuse.RootID {
			k.mu.Unlock()
			return
		}
		delete(k.inodes, n.id)
		parent, count := n.parent, n.lookups
		k.mu.Unlock()
		_ = k.send(2*k.ids.Add(1), header{op: fuse.OpForget, node: n.id}, fuse.ForgetIn{Nlookup: count})
		n = parent
	}
}

// adopt takes an entry that the server has given a lookup for, and returns its inode
// with a reference.
func (k *Kernel) adopt(dir *inode, e fuse.EntryOut) (*inode, error) {
	k.mu.Lock()
	n := k.inodes[e.NodeID]
	if n == nil {
		n = &inode{id: e.NodeID, generation: e.Generation, kind: e.Attr.Mode & posix.S_IFMT}
		k.inodes[e.NodeID] = n
	}
	n.lookups++
	n.refs++
	var old *inode
	if n.isDir() && n.parent != dir && n.id != fuse.RootID {
		dir.refs++
		old, n.parent = n.parent, dir
	}
	bad := n.generation != e.Generation || n.kind != e.Attr.Mode&posix.S_IFMT || e.NodeID == 0
	k.mu.Unlock()
	k.put(old)
	if bad {
		k.put(n)
		return nil, posix.EIO // another file has the number of one that is known
	}
	return n, nil
}

// move tells that a folder has another parent now.
func (k *Kernel) move(n, to *inode) {
	if !n.isDir() {
		return
	}
	k.mu.Lock()
	to.refs++
	old := n.parent
	n.parent = to
	k.mu.Unlock()
	k.put(old)
}

// entry reads a reply that is an entry.
func (k *Kernel) entry(dir *inode, d *fuse.Decoder) (*inode, share.Attr, error) {
	var e fuse.EntryOut
	e.Decode(d)
	if err := d.Err(); err != nil {
		return nil, share.Attr{}, posix.EIO
	}
	if e.NodeID == 0 {
		return nil, share.Attr{}, posix.ENOENT
	}
	n, err := k.adopt(dir, e)
	return n, attrOf(e.Attr), err
}

func attrOf(a fuse.Attr) share.Attr {
	return share.Attr{
		Ino: a.Ino, Mode: a.Mode, Nlink: a.Nlink, UID: a.UID, GID: a.GID, Rdev: a.Rdev, Size: a.Size, Blocks: a.Blocks,
		BlockSize: a.BlkSize,
		Atime:     share.Time{Sec: int64(a.Atime), Nsec: a.AtimeNsec},
		Mtime:     share.Time{Sec: int64(a.Mtime), Nsec: a.MtimeNsec},
		Ctime:     share.Time{Sec: int64(a.Ctime), Nsec: a.CtimeNsec},
	}
}

// lookup finds a name in a folder.
func (p *proc) lookup(dir *inode, name string) (*inode, share.Attr, error) {
	d, err := p.k.call(header{fuse.OpLookup, dir.id, p}, bare{}, named(name))
	if err != nil {
		return nil, share.Attr{}, err
	}
	return p.k.entry(dir, &d)
}

// attr asks for a file's attributes, through an open file when there is one.
func (p *proc) attr(n *inode, f *description) (share.Attr, error) {
	var in fuse.GetattrIn
	if f != nil && f.hasFH && !n.isDir() {
		in = fuse.GetattrIn{Flags: fuse.GetattrFH, FH: f.fh}
	}
	d, err := p.k.call(header{fuse.OpGetattr, n.id, p}, in)
	if err != nil {
		return share.Attr{}, err
	}
	var out fuse.AttrOut
	out.Decode(&d)
	return attrOf(out.Attr), d.Err()
}
