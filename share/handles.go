package share

import (
	"sync"
	"sync/atomic"

	"github.com/porthole-run/porthole/share/posix"
)

// A handle is an open file or folder of the guest's. It holds a reference to its node.
type handle struct {
	id    uint64
	node  *node
	file  File // nil for a folder
	dir   Dir  // nil for a file
	flags uint32

	direct  bool     // the kernel's cache is not used: set by begin, as is mapping
	mapping *mapping // of a file that it could map and write

	refs  int // guarded by the table's mu; the table's own is one
	wrote atomic.Bool
	// failed is the errno of the first fsync that failed: what was lost then is not on
	// the disk however often one asks again.
	failed atomic.Uint32
}

func (h *handle) close() error {
	if h.file != nil {
		return h.file.Close()
	}
	return h.dir.Close()
}

// handleTable has the handles of a session. Numbers are never used again.
type handleTable struct {
	mu    sync.Mutex // guards all
	byID  map[uint64]*handle
	next  uint64
	limit int
}

func (t *handleTable) init(limit int) {
	t.byID, t.next, t.limit = make(map[uint64]*handle), 1, limit
}

// full tells whether add would fail, for callers that would have to undo much.
func (t *handleTable) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID) >= t.limit
}

// add takes over the handle: ENFILE past the limit.
func (t *handleTable) add(h *handle) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.limit {
		return posix.ENFILE
	}
	h.id, h.refs = t.next, 1
	t.next++
	t.byID[h.id] = h
	return nil
}

// get returns a handle of a node with a reference; nil when it is not one.
func (t *handleTable) get(id uint64, n *node) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byID[id]
	if h == nil || h.node != n {
		return nil
	}
	h.refs++
	return h
}

// remove takes a handle out of the table, and returns it with the table's reference.
func (t *handleTable) remove(id uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byID[id]
	delete(t.byID, id)
	return h
}

// unref ends a reference, and returns whether it was the last.
func (t *handleTable) unref(h *handle) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.refs--
	return h.refs == 0
}

// written returns the files that were written, each with a reference.
func (t *handleTable) written() []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*handle
	for _, h := range t.byID {
		if h.file != nil && h.wrote.Load() {
			h.refs++
			all = append(all, h)
		}
	}
	return all
}

// drain empties the table.
func (t *handleTable) drain() []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*handle, 0, len(t.byID))
	for _, h := range t.byID {
		all = append(all, h)
	}
	clear(t.byID)
	return all
}

// done ends a request's use of a handle, and closes it when it was the last.
func (s *Session) done(h *handle) {
	if !s.handles.unref(h) {
		return
	}
	closed := nothing
	if h.file != nil && h.flags&posix.O_ACCMODE != posix.O_RDONLY {
		closed = s.echoFile(h.node, echoModify) // the host tells of that too
	}
	err := s.end(h)
	closed()
	if err != nil {
		s.log.Debug("close a guest's file", "error", err)
	}
	s.nodes.unref(h.node)
}
