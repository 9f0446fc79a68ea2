package share

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// A node is a file that the guest's kernel knows by a number. Numbers are never used
// again, so that the generation is always 1.
type node struct {
	id  uint64
	n   Node
	fid FileID
	typ uint32 // posix.S_IFMT

	// Guarded by the table's mu.
	lookups  uint64 // that the kernel has not forgotten
	refs     int    // requests and handles that use it
	links    []name // under which the kernel may have it
	children map[string]*node
	missing  map[string]struct{} // names that the kernel knows not to be there

	watched    atomic.Bool   // the host tells of changes in this folder
	used       atomic.Uint64 // when a folder was last looked into, in the watch set's ticks
	inval      atomic.Uint64 // number of the last invalidation of it or of a name in it
	invalNow   atomic.Int32  // those under way
	looking    atomic.Int32  // requests under way whose answer the kernel may cache
	announcing atomic.Int32  // changes under way that others are being told of

	mu     sync.Mutex // guards the rest
	seen   version    // what the kernel's cached pages are of
	own    bool       // the guest has changed it since
	cached int        // handles that use the kernel's cache
	pages  FileID     // the file that they are of: not always the same in a share of one file
	locks  map[lockOwner]uint64
}

type name struct {
	dir  *node
	name string
}

func (n *node) isDir() bool { return n.typ == posix.S_IFDIR }

// nodeTable has all nodes of a session.
type nodeTable struct {
	mu     sync.Mutex // guards all
	byID   map[uint64]*node
	byFID  map[FileID]*node
	next   uint64
	limit  int         // immutable, as mark
	mark   int         // from so many nodes on the kernel is to forget some
	misses int         // names in all nodes' missing
	least  int         // fewest nodes since ebb
	gone   func(*node) // frees what nothing uses any more; called without mu

	crowded chan struct{} // immutable; has one when a node was added past the mark
}

func (t *nodeTable) init(root Node, a Attr, limit int, gone func(*node)) {
	t.gone = gone
	r := &node{id: fuse.RootID, n: root, fid: a.ID, typ: a.Mode & posix.S_IFMT, lookups: 1}
	t.byID = map[uint64]*node{fuse.RootID: r}
	t.byFID = map[FileID]*node{a.ID: r}
	t.next, t.limit, t.mark = fuse.RootID+1, limit, crowdedAt(limit)
	t.crowded = make(chan struct{}, 1)
}

// size returns how many nodes there are, and the fewest that there were since ebb.
func (t *nodeTable) size() (n, least int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID), t.least
}

// ebb has the fewest nodes counted from now on.
func (t *nodeTable) ebb() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.least = len(t.byID)
}

// get returns a node with a reference, nil when there is none of the number.
func (t *nodeTable) get(id uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n != nil {
		n.refs++
	}
	return n
}

// find returns the node of a file with a reference, nil when the guest knows none.
func (t *nodeTable) find(f FileID) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byFID[f]
	if n != nil {
		n.refs++
	}
	return n
}

// child returns what the guest knows under a name, with a reference, or nil.
func (t *nodeTable) child(dir *node, base string) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := dir.children[base]
	if n != nil {
		n.refs++
	}
	return n
}

// add counts one lookup of a file under a name (of none when dir is nil), and returns
// its node with a reference. It takes over h.
func (t *nodeTable) add(h Node, a Attr, dir *node, base string) (*node, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byFID[a.ID]
	if n != nil && n.typ == a.Mode&posix.S_IFMT {
		if n.n != h {
			defer h.Release()
		}
	} else {
		if len(t.byID) >= t.limit {
			defer h.Release()
			return nil, posix.ENFILE
		}
		n = &node{id: t.next, n: h, fid: a.ID, typ: a.Mode & posix.S_IFMT}
		t.next++
		t.byID[n.id], t.byFID[n.fid] = n, n
		if len(t.byID) >= t.mark {
			poke(t.crowded)
		}
	}
	n.lookups++
	n.refs++
	if dir != nil {
		t.setLink(dir, base, n)
	}
	return n, nil
}

// grant counts one lookup of a known node under a further name, and a reference.
func (t *nodeTable) grant(n, dir *node, base string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.lookups++
	n.refs++
	t.setLink(dir, base, n)
}

// maxMisses bounds the names that are noted not to be there.
const maxMisses = 64 << 10

// miss says that base of dir is nothing, and the kernel will know so. It returns whether
// that was noted, so that known returns the name.
func (t *nodeTable) miss(dir *node, base string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setLink(dir, base, nil)
	if _, known := dir.missing[base]; known {
		return true
	}
	if t.misses >= maxMisses {
		return false
	}
	if dir.missing == nil {
		dir.missing = make(map[string]struct{})
	}
	dir.missing[base] = struct{}{}
	t.misses++
	return true
}

// known returns the names of a folder that the kernel may have cached.
func (t *nodeTable) known(dir *node) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, 0, len(dir.children)+len(dir.missing))
	for base := range dir.children {
		names = append(names, base)
	}
	for base := range dir.missing {
		names = append(names, base)
	}
	t.misses -= len(dir.missing)
	dir.missing = nil
	return names
}

// all returns all nodes, each with a reference.
func (t *nodeTable) all() []*node {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*node, 0, len(t.byID))
	for _, n := range t.byID {
		n.refs++
		all = append(all, n)
	}
	return all
}

// setLink makes base of dir n; nil: nothing.
func (t *nodeTable) setLink(dir *node, base string, n *node) {
	if _, missed := dir.missing[base]; missed && n != nil {
		delete(dir.missing, base)
		t.misses--
	}
	old := dir.children[base]
	if old == n {
		return
	}
	if old != nil {
		old.links = slices.DeleteFunc(old.links, func(l name) bool { return l.dir == dir && l.name == base })
	}
	if n == nil {
		delete(dir.children, base)
		return
	}
	if dir.children == nil {
		dir.children = make(map[string]*node)
	}
	dir.children[base] = n
	n.links = append(n.links, name{dir, base})
}

// relink says that base of dir is n now; nil: nothing that the guest knows.
func (t *nodeTable) relink(dir *node, base string, n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setLink(dir, base, n)
}

// unlink says that base of dir is n no longer.
func (t *nodeTable) unlink(dir *node, base string, n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if dir.children[base] == n {
		t.setLink(dir, base, nil)
	}
}

// move re-keys after a rename; with exchange the two change places.
func (t *nodeTable) move(dir *node, base string, to *node, newBase string, exchange bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, old := dir.children[base], to.children[newBase]
	if n == old && n != nil {
		return // two names of one file: rename(2) does nothing
	}
	if !exchange {
		old = nil
	}
	t.setLink(dir, base, old)
	t.setLink(to, newBase, n)
}

// ref adds a reference to a node that has one.
func (t *nodeTable) ref(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.refs++
}

// unref ends a reference.
func (t *nodeTable) unref(n *node) {
	t.mu.Lock()
	n.refs--
	gone := t.drop(n)
	t.mu.Unlock()
	if gone {
		t.gone(n)
	}
}

// forget takes back lookups, and returns whether there were so many.
func (t *nodeTable) forget(id, count uint64) bool {
	t.mu.Lock()
	n := t.byID[id]
	if n == nil {
		t.mu.Unlock()
		return false
	}
	if id == fuse.RootID {
		t.mu.Unlock()
		return true
	}
	ok := n.lookups >= count
	n.lookups -= min(count, n.lookups)
	gone := t.drop(n)
	t.mu.Unlock()
	if gone {
		t.gone(n)
	}
	return ok
}

// drop removes a node that nothing uses, and returns whether it did.
func (t *nodeTable) drop(n *node) bool {
	if n.lookups > 0 || n.refs > 0 || n.id == fuse.RootID {
		return false
	}
	delete(t.byID, n.id)
	t.least = min(t.least, len(t.byID))
	if t.byFID[n.fid] == n {
		delete(t.byFID, n.fid)
	}
	for _, l := range slices.Clone(n.links) {
		t.setLink(l.dir, l.name, nil)
	}
	for base := range n.children {
		t.setLink(n, base, nil)
	}
	t.misses -= len(n.missing)
	return true
}

// above returns a folder and those above it, each with a reference: while they last its
// path does.
func (t *nodeTable) above(n *node) []*node {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*node
	for len(all) <= posix.PATH_MAX/2 {
		n.refs++
		all = append(all, n)
		if n.id == fuse.RootID || len(n.links) == 0 {
			break
		}
		n = n.links[len(n.links)-1].dir
	}
	return all
}

// path returns a folder's path from the root ("" for the root), and whether it has one.
func (t *nodeTable) path(n *node) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	path := ""
	for depth := 0; n.id != fuse.RootID; depth++ {
		if len(n.links) == 0 || depth > posix.PATH_MAX/2 {
			return "", false
		}
		l := n.links[len(n.links)-1]
		if path == "" {
			path = l.name
		} else {
			path = l.name + "/" + path
		}
		n = l.dir
	}
	return path, len(path) < posix.PATH_MAX
}

// drain frees all nodes.
func (t *nodeTable) drain() {
	t.mu.Lock()
	all := t.byID
	t.byID, t.byFID = map[uint64]*node{}, map[FileID]*node{}
	t.mu.Unlock()
	for _, n := range all {
		t.gone(n)
	}
}
