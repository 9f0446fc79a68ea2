package hostfs

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Ownership says where owners, modes and types of a guest's files are kept.
type Ownership uint8

const (
	// Auto is Native for a process with root's rights over the whole range of ids, else
	// Mapped.
	Auto Ownership = iota
	// Native keeps them as the host's own. Devices alone are regular files with an
	// extended attribute.
	Native
	// Mapped keeps them in an extended attribute; the host's files belong to the process
	// and are 0600, folders 0700. Symbolic links, FIFOs, sockets and devices are regular
	// files on the host. Files without the attribute are shown as the host has them.
	Mapped
)

// Options are how to serve a folder.
type Options struct {
	// ReadOnly refuses all changes of the root's own file system with EROFS;
	// RecursiveReadOnly, which implies it, those of the mounts below it too.
	ReadOnly, RecursiveReadOnly bool
	// HostToContainer shows mounts that the host makes below the folder later, and lets
	// go of those it takes away. A mount that the guest holds a file of is then busy for
	// the host. Without it the mounts are those of the moment of Open.
	HostToContainer bool
	// Ownership says where owners are kept.
	Ownership Ownership
	// Pool bounds descriptors. The default is one for all FS of the process, with 60 % of
	// its limit.
	Pool *Pool
}

// FS is a folder, or one file, of the host.
type FS struct {
	// Immutable after Open.
	pool     *Pool
	proc     procFD
	tree     int // what holds the private copy of the mounts; -1 without
	root     *node
	dev      uint64 // of the root
	mapped   bool
	readOnly bool // for the root's mount
	allRead  bool // for all mounts
	features share.Features

	closed atomic.Int64 // nodes without a descriptor

	mu     sync.Mutex // guards what follows and all nodes' refs
	nodes  map[nodeKey]*node
	mounts map[uint64]*mount
	inos   inoTable

	// going is held for reading while a name is removed, from before its file loses it
	// until its node has a descriptor, and for writing to open a node again: see removing.
	going  sync.RWMutex
	owners sync.Mutex // one change of an override_stat at a time
	watch  *watcher
}

var (
	_ share.Backend = (*FS)(nil)
	_ share.Watcher = (*FS)(nil)
)

// A mount is one mount that nodes have been found on.
type mount struct {
	fs       *FS
	id       uint64
	anchor   int // any open file of it, for handles; -1: there are none
	readOnly bool

	refs int // nodes and watched folders; guarded by fs.mu
}

// Open serves what is at path. Symbolic links in it are followed.
func Open(path string, o Options) (_ *FS, err error) {
	fs := &FS{
		pool:     o.Pool,
		tree:     -1,
		readOnly: o.ReadOnly || o.RecursiveReadOnly,
		allRead:  o.RecursiveReadOnly,
		nodes:    map[nodeKey]*node{},
		mounts:   map[uint64]*mount{},
	}
	if fs.pool == nil {
		fs.pool = defaultPool()
	}
	if fs.proc, err = openProcFD(); err != nil {
		return nil, fmt.Errorf("open share: open /proc/self/fd: %w", err)
	}
	root, err := fs.openRoot(path, o)
	if err != nil {
		fs.free()
		return nil, fmt.Errorf("open share %s: %w", path, err)
	}
	if err := fs.adoptRoot(root, o.Ownership); err != nil {
		fs.free()
		return nil, fmt.Errorf("open share %s: %w", path, err)
	}
	fs.watch = newWatcher(fs)
	return fs, nil
}

// openRoot returns an O_PATH descriptor of the root, within a private copy of the mounts
// there when that is wanted and allowed.
func (fs *FS) openRoot(path string, o Options) (int, error) {
	live, err := againFD(func() (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err != nil || o.HostToContainer {
		return live, err
	}
	tree, err := againFD(func() (int, error) {
		return unix.OpenTree(live, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	})
	switch posix.FromError(err) {
	case 0:
	case posix.EPERM, posix.ENOSYS, posix.EINVAL:
		return live, nil // may not mount, or not from here: read-only is kept by this package alone
	default:
		closeFD(live)
		return -1, fmt.Errorf("copy mounts: %w", err)
	}
	fs.tree = tree
	closeFD(live)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if fs.allRead {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := again(func() error {
		return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
	}); err != nil {
		return -1, fmt.Errorf("make mounts private: %w", err)
	}
	if fs.readOnly && !fs.allRead {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := again(func() error { return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr) }); err != nil {
			return -1, fmt.Errorf("make mount read-only: %w", err)
		}
	}
	root, err := againFD(func() (int, error) { return unix.FcntlInt(uintptr(tree), unix.F_DUPFD_CLOEXEC, 0) })
	return root, err
}

// adoptRoot takes over the root's descriptor and learns what its file system can do.
func (fs *FS) adoptRoot(fd int, how Ownership) error {
	st, err := statFD(fd)
	if err != nil {
		closeFD(fd)
		return err
	}
	if t := uint32(st.Mode) & posix.S_IFMT; t != posix.S_IFDIR && t != posix.S_IFREG {
		closeFD(fd)
		return fmt.Errorf("is neither a folder nor a regular file: %w", posix.EINVAL)
	}
	var sf unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &sf) }); err != nil {
		closeFD(fd)
		return err
	}
	fs.features = share.Features{TimeGran: 1, Local: isLocal(int64(sf.Type))}
	fs.dev = unix.Mkdev(st.Dev_major, st.Dev_minor)
	fs.inos.root = fs.dev
	fs.mapped = how == Mapped || how == Auto && !rootRights()
	if fs.mapped && !fs.allRead {
		_, err := getOverride(fd)
		if errors.Is(err, errors.ErrUnsupported) && !fs.readOnly {
			closeFD(fd)
			return fmt.Errorf("keep owners: the file system has no extended attributes: %w", posix.EOPNOTSUPP)
		}
	}
	fs.root, _, err = fs.adopt(fd, &st)
	if err == nil {
		_, err = fs.root.hold() // for good: it is the way to all else
	}
	return err
}

// Root returns the folder or file itself.
func (fs *FS) Root() share.Node { return fs.root }

// Features says what the root's file system can do.
func (fs *FS) Features() share.Features { return fs.features }

// Close frees everything, and ends Events.
func (fs *FS) Close() error {
	fs.watch.close()
	fs.free()
	return nil
}

func (fs *FS) free() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for key, n := range fs.nodes {
		fs.pool.remove(&n.desc)
		delete(fs.nodes, key)
	}
	for id, m := range fs.mounts {
		closeFD(m.anchor)
		m.anchor = -1
		delete(fs.mounts, id)
	}
	closeFD(fs.tree)
	closeFD(fs.proc.fd)
	fs.tree, fs.proc.fd = -1, -1
}

// dropMount takes back one reference. With the last the host may unmount. mu is held.
func (fs *FS) dropMount(m *mount) {
	if m.refs--; m.refs > 0 {
		return
	}
	closeFD(m.anchor)
	m.anchor = -1
	if fs.mounts[m.id] == m {
		delete(fs.mounts, m.id)
	}
}

// mountOf returns the mount that an open file is on, with one more reference. mu is held.
func (fs *FS) mountOf(fd int, st *unix.Statx_t) *mount {
	m := fs.mounts[st.Mnt_id]
	if m != nil {
		m.refs++
		return m
	}
	m = &mount{fs: fs, id: st.Mnt_id, anchor: -1, refs: 1, readOnly: fs.allRead || fs.readOnly && fs.root == nil}
	fs.mounts[st.Mnt_id] = m
	if t := uint32(st.Mode) & posix.S_IFMT; t != posix.S_IFDIR && t != posix.S_IFREG {
		return m // opening it could do something
	}
	anchor, err := fs.proc.reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return m
	}
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err == nil {
		var back int
		if back, err = unix.OpenByHandleAt(anchor, h, unix.O_PATH|unix.O_CLOEXEC); err == nil {
			closeFD(back)
		}
	}
	if err != nil {
		closeFD(anchor)
		return m
	}
	m.anchor = anchor
	return m
}

// isLocal tells file systems that only this host's kernel changes by their statfs(2)
// type: linux/magic.h and fs/*/super.c.
func isLocal(magic int64) bool {
	switch uint32(magic) {
	case 0x6969, // nfs
		0xff534d42, 0xfe534d42, 0x517b, // cifs, smb2, smb
		0x65735546,             // fuse
		0x01021997,             // 9p
		0x00c36400,             // ceph
		0x5346414f, 0x6b414653, // afs
		0x0bd00bd0, // lustre
		0x01161970, // gfs2
		0x7461636f, // ocfs2
		0x19830326, // fhgfs, beegfs
		0x47504653, // gpfs
		0x786f4256, // vboxsf
		0xbacbacbc, // vmhgfs
		0xaad7aaea, // panfs
		0x6e736673: // acfs
		return false
	}
	return true
}
