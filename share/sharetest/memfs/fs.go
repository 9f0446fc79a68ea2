package memfs

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Options are what the file system tells of itself.
type Options struct {
	Remote bool // Features.Local is false
	// Untold means that events do not say who made a change.
	Untold bool
	// Watches bounds the folders that are watched; 0: no bound.
	Watches int
	// Events bounds the events that nobody has read: 4,096.
	Events int
}

// FS is the file system. It is a share.Backend and a share.Watcher.
type FS struct {
	o      Options
	events chan share.Event

	mu      sync.Mutex // guards all of the tree and the rest
	root    *inode
	last    uint64
	watched map[*inode]int
	nodes   int // given out and not released
	files   int // open
	over    bool
	closed  bool
}

var (
	_ share.Backend = (*FS)(nil)
	_ share.Watcher = (*FS)(nil)
)

// inode is a file; FS.mu guards it.
type inode struct {
	attr    share.Attr
	pages   map[int64]*page // of regular files; what is absent is a hole
	target  string
	xattrs  map[string][]byte
	entries []*entry // of folders, in the order of their cookies
	cookie  uint64
	parent  *inode
	removed bool // a folder
	// linkable: a file without a name that may be given one
	linkable bool
}

type entry struct {
	name   string
	file   *inode
	cookie uint64
}

// New returns a file system whose root is an empty folder of root's, mode 0755.
func New(o Options) *FS {
	if o.Events <= 0 {
		o.Events = 4096
	}
	f := &FS{o: o, events: make(chan share.Event, o.Events+1), watched: make(map[*inode]int)}
	f.root = f.newInode(posix.S_IFDIR|0o755, share.Owner{})
	f.root.parent = f.root
	return f
}

// Root returns the root as a guest's session has it.
func (f *FS) Root() share.Node {
	return &node{fs: f, i: f.root, origin: f.guest(), root: true}
}

// Host returns the root as the host's programs have it.
func (f *FS) Host() share.Node {
	o := share.OriginForeign
	if f.o.Untold {
		o = share.OriginUnknown
	}
	return &node{fs: f, i: f.root, origin: o, root: true}
}

func (f *FS) guest() share.Origin {
	if f.o.Untold {
		return share.OriginUnknown
	}
	return share.OriginOwn
}

// Features says that all is known, to the nanosecond.
func (f *FS) Features() share.Features { return share.Features{TimeGran: 1, Local: !f.o.Remote} }

// Close ends the events.
func (f *FS) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.events)
	}
	return nil
}

// InUse returns how many nodes have not been released and how many files and folders not
// been closed.
func (f *FS) InUse() (nodes, files int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes, f.files
}

// Watched returns how many folders are watched.
func (f *FS) Watched() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watched)
}

// Watch begins to tell of a folder: ENOSPC past the bound.
func (f *FS) Watch(dir share.Node) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := dir.(*node).i
	if _, again := f.watched[i]; !again && f.o.Watches > 0 && len(f.watched) >= f.o.Watches {
		return posix.ENOSPC
	}
	f.watched[i] = 1
	return nil
}

// Unwatch ends that.
func (f *FS) Unwatch(dir share.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watched, dir.(*node).i)
}

// Events gives the changes in what is watched.
func (f *FS) Events() <-chan share.Event { return f.events }

// tell sends an event of a folder, when that is watched.
func (f *FS) tell(dir *inode, e share.Event) {
	if f.closed || f.watched[dir] == 0 {
		return
	}
	if len(f.events) < f.o.Events {
		f.over = false
		f.events <- e
	} else if !f.over {
		f.over = true
		f.events <- share.Event{Kind: share.EventOverflow}
	}
}

// tellFile sends an event of a file, in each folder that has it.
func (f *FS) tellFile(i *inode, kind share.EventKind, o share.Origin) {
	e := share.Event{Kind: kind, Origin: o, ID: i.attr.ID, IsDir: i.isDir()}
	if i.isDir() && kind == share.EventAttrib {
		e.Dir = i.attr.ID
		f.tell(i, e)
	}
	for dir := range f.watched {
		for _, x := range dir.entries {
			if x.file == i {
				e.Dir, e.Name = dir.attr.ID, x.name
				f.tell(dir, e)
			}
		}
	}
}

func now() share.Time {
	t := time.Now()
	return share.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

func (f *FS) newInode(mode uint32, o share.Owner) *inode {
	f.last++
	t := now()
	i := &inode{attr: share.Attr{ID: share.FileID{Volume: 1, File: f.last}, Ino: f.last, Mode: mode, Nlink: 1,
		UID: o.UID, GID: o.GID, BlockSize: 4096, Atime: t, Mtime: t, Ctime: t, Change: 1}}
	if i.isDir() {
		i.attr.Nlink = 2
	}
	return i
}

func (i *inode) isDir() bool { return i.attr.Mode&posix.S_IFMT == posix.S_IFDIR }

// touch moves the time of change, and with content that of the data too.
func (i *inode) touch(content bool) {
	i.attr.Ctime = now()
	i.attr.Change++
	if content {
		i.attr.Mtime = i.attr.Ctime
	}
}

func (i *inode) find(name string) (*entry, int) {
	for k, e := range i.entries {
		if e.name == name {
			return e, k
		}
	}
	return nil, -1
}

func (i *inode) add(name string, file *inode) {
	i.cookie++
	i.entries = append(i.entries, &entry{name, file, i.cookie + 2})
	if file.isDir() {
		file.parent = i
		i.attr.Nlink++
	}
	i.touch(true)
}

func (i *inode) remove(name string) *inode {
	e, k := i.find(name)
	i.entries = slices.Delete(i.entries, k, k+1)
	if e.file.isDir() {
		i.attr.Nlink--
	}
	i.touch(true)
	return e.file
}

// after returns the entries with greater cookies, "." and ".." first.
func (i *inode) after(cookie uint64, most int) []share.DirEntry {
	var all []share.DirEntry
	if i.removed {
		return nil
	}
	for c, self := range []struct {
		name string
		i    *inode
	}{{".", i}, {"..", i.parent}} {
		if cookie < uint64(c)+1 {
			all = append(all, share.DirEntry{Name: self.name, Ino: self.i.attr.Ino, Type: posix.DT_DIR, Cookie: uint64(c) + 1})
		}
	}
	k, _ := slices.BinarySearchFunc(i.entries, cookie+1, func(e *entry, c uint64) int { return cmp.Compare(e.cookie, c) })
	for _, e := range i.entries[k:] {
		all = append(all, share.DirEntry{Name: e.name, Ino: e.file.attr.Ino, Type: e.file.attr.Mode & posix.S_IFMT >> 12, Cookie: e.cookie})
		if len(all) >= most {
			break
		}
	}
	return all[:min(len(all), most)]
}
