package ntfs

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// Options are how a folder is shown.
type Options struct {
	// UID and GID own files that say nothing of an owner; FileMode and DirMode are the
	// permissions of those that say nothing of them: 0755 when zero.
	UID, GID          uint32
	FileMode, DirMode uint32
	// Path is the Win32 path of the folder: absolute links to below it are shown as
	// relative ones. Empty: all absolute links lead outside.
	Path string
}

// Backend is a folder or a file of an NTFS volume. Make it with Open or New.
type Backend struct {
	root   ntapi.Handle // immutable; pins the folder
	rootID ntapi.FileID // immutable
	serial uint64       // immutable
	opt    Options      // immutable
	done   chan struct{}
	events *watcher

	// tree is held to read while any handle but root is used, and to write by what
	// must have none open below a directory: its rename.
	tree sync.RWMutex

	mu     sync.Mutex // guards the rest
	inodes map[ntapi.FileID]*inode
	files  map[*file]struct{}
	closed bool
}

var (
	_ share.Backend = (*Backend)(nil)
	_ share.Watcher = (*Backend)(nil)
)

// inode is what nodes and open files of one file share.
type inode struct {
	id   ntapi.FileID // immutable
	refs int          // guarded by Backend.mu

	// meta is held by what reads and then writes metadata or takes names away.
	meta sync.Mutex

	// uncapable: the file has no capabilities that a write would have to clear.
	uncapable atomic.Bool

	// pin guards orphan: a handle that keeps a file that has no name any more. It is
	// held to read while orphan is used.
	pin    sync.RWMutex
	orphan ntapi.Handle
	gone   atomic.Bool // its last name is gone
	// hidden: the file was made without a name, and has one that no guest sees. It goes
	// with the inode, unless the file is given another.
	hidden atomic.Bool

	mu          sync.Mutex // guards the rest
	files       map[*file]struct{}
	caseKnown   bool // the directory's case flag was asked for, and set where it could be
	caseOn      bool
	subdirs     uint32
	subdirsAt   [2]ntapi.Time // change and write time that subdirs is of
	subdirsSeen bool
}

// New shows what root has open: a folder, or a file. The Backend closes root, also when
// New fails. Anything but NTFS and ReFS is EOPNOTSUPP.
func New(root ntapi.Handle, o Options) (*Backend, error) {
	if o.FileMode == 0 {
		o.FileMode = 0o755
	}
	if o.DirMode == 0 {
		o.DirMode = 0o755
	}
	b, err := newBackend(root, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("share folder: %w", err), root.Close())
	}
	return b, nil
}

func newBackend(root ntapi.Handle, o Options) (*Backend, error) {
	v, err := root.Volume()
	if err != nil {
		return nil, err
	}
	if v.FileSystem != "NTFS" && v.FileSystem != "ReFS" {
		return nil, fmt.Errorf("file system %s keeps no owners, links and attributes: %w", v.FileSystem, posix.EOPNOTSUPP)
	}
	b := &Backend{
		root: root, serial: v.Serial, opt: o, done: make(chan struct{}),
		inodes: map[ntapi.FileID]*inode{}, files: map[*file]struct{}{},
	}
	h, _, err := root.Open(b.request(ntapi.AccessReadAttributes))
	if err != nil {
		return nil, err
	}
	st, err := h.Stat()
	if err := errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	b.rootID = st.ID
	b.events = newWatcher(b)
	if err := b.sweep(); err != nil {
		return nil, err
	}
	b.acquire(st.ID) // the root's own, until Close
	return b, nil
}

// Root implements share.Backend.
func (b *Backend) Root() share.Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &node{b: b, f: b.inodes[b.rootID], root: true}
}

// Features implements share.Backend.
func (b *Backend) Features() share.Features {
	return share.Features{TimeGran: 100, Local: true}
}

// Close implements share.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	inodes, files := b.inodes, b.files
	b.inodes, b.files = map[ntapi.FileID]*inode{}, map[*file]struct{}{}
	b.mu.Unlock()
	close(b.done)
	err := b.events.close()
	b.tree.Lock()
	defer b.tree.Unlock()
	for f := range files {
		err = errors.Join(err, f.park())
	}
	for _, i := range inodes {
		err = errors.Join(err, b.forget(i))
	}
	return errors.Join(err, b.root.Close())
}

// acquire returns the inode of an id with one more reference.
func (b *Backend) acquire(id ntapi.FileID) *inode {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.inodes[id]
	if i == nil {
		i = &inode{id: id, files: map[*file]struct{}{}}
		b.inodes[id] = i
	}
	i.refs++
	return i
}

// release gives a reference back; the last frees the inode.
func (b *Backend) release(i *inode) {
	b.mu.Lock()
	i.refs--
	last := i.refs == 0 && b.inodes[i.id] == i
	if last {
		delete(b.inodes, i.id)
	}
	b.mu.Unlock()
	if last {
		_ = b.forget(i) // a file without a name: nothing of it is left to lose
	}
}

func (b *Backend) fileID(id ntapi.FileID) share.FileID {
	return share.FileID{Volume: b.serial, File: id.Low, High: id.High}
}

// forget ends what is kept of a file without a name.
func (b *Backend) forget(i *inode) error {
	var err error
	i.pin.RLock()
	if i.orphan != nil && i.hidden.Load() {
		err = b.remove(i.orphan)
	}
	i.pin.RUnlock()
	return errors.Join(err, i.unpin())
}

// unpin lets a nameless file go.
func (i *inode) unpin() error {
	i.pin.Lock()
	defer i.pin.Unlock()
	if i.orphan == nil {
		return nil
	}
	h := i.orphan
	i.orphan = nil
	return h.Close()
}

// How long another program is waited for that has a file open to itself, or deletes it.
const (
	retries    = 10
	retryPause = 20 * time.Millisecond
)

// retry repeats do while the status says that another program is in the way: again tells
// which. After the last try the answer is EBUSY.
func (b *Backend) retry(do func() error, again ...ntapi.Status) error {
	for try := 0; ; try++ {
		err := do()
		waits := false
		for _, s := range again {
			waits = waits || errors.Is(err, s)
		}
		if !waits {
			return err
		}
		if try == retries {
			return fmt.Errorf("%w: %w", posix.EBUSY, err)
		}
		t := time.NewTimer(retryPause)
		select {
		case <-t.C:
		case <-b.done:
			t.Stop()
			return err
		}
	}
}
