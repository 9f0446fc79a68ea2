package share

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// Errors of Save and Restore.
var (
	// ErrBusy: requests come and go, so that there is no moment to save.
	ErrBusy = errors.New("the share is in use")
	// ErrLocked: the guest has locks that a restored one would not have.
	ErrLocked = errors.New("the guest has locks on files of the share")
	// ErrTable: what was saved cannot be gone on with.
	ErrTable = errors.New("the saved share does not fit")
)

const (
	tableVersion = 1
	// saveQuiet is for how long nothing may come before a session is saved.
	saveQuiet = 20 * time.Millisecond
)

// table is what a session knows of its guest, which a session of another folder can go on
// with: files by their paths, and not what is in them.
type table struct {
	Version    int           `json:"version"`
	Trusted    bool          `json:"trusted"`    // the kernel was told that the server tells of changes
	Private    bool          `json:"private"`    // and that it keeps locks itself
	NoSecurity bool          `json:"noSecurity"` // and the relay that no file has capabilities
	Single     bool          `json:"single"`
	Expire     bool          `json:"expire"`
	TID        uint32        `json:"tid"`
	NextNode   uint64        `json:"nextNode"`
	NextHandle uint64        `json:"nextHandle"`
	Nodes      []tableNode   `json:"nodes"`   // without the root; parents first
	Missing    []tableName   `json:"missing"` // names that the kernel may know not to be there
	Handles    []tableHandle `json:"handles"`
}

// tableNode is a file by its name in a folder. Without a parent it has none.
type tableNode struct {
	ID      uint64 `json:"id"`
	Parent  uint64 `json:"parent,omitempty"`
	Name    []byte `json:"name,omitempty"` // of any bytes
	Type    uint32 `json:"type"`
	Lookups uint64 `json:"lookups"`
}

// tableName is a name in a folder.
type tableName struct {
	Dir  uint64 `json:"dir"`
	Name []byte `json:"name"`
}

// tableHandle is an open file or folder.
type tableHandle struct {
	ID     uint64 `json:"id"`
	Node   uint64 `json:"node"`
	Dir    bool   `json:"dir,omitempty"`
	Flags  uint32 `json:"flags"`
	Direct bool   `json:"direct,omitempty"`
	Mapped bool   `json:"mapped,omitempty"` // the guest may have mapped it for writing
}

// traffic counts what goes through the stream, to tell when nothing does.
type traffic struct {
	in, framed, frames, routed, out atomic.Uint64
}

type countedReader struct {
	r io.Reader
	n *atomic.Uint64
}

func (c countedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(uint64(n))
	return n, err
}

// still returns a number that moves with all that the session does, and whether it does
// nothing: no request is under way, half read or waited for.
func (s *Session) still() (mark uint64, ok bool) {
	t := &s.traffic
	mark = t.in.Load() + t.out.Load()
	if t.in.Load() != t.framed.Load() || t.frames.Load() != t.routed.Load() {
		return mark, false
	}
	q := &s.queue
	q.mu.Lock()
	ok = len(q.waiting) == 0 && q.idle == q.workers
	q.mu.Unlock()
	s.notes.mu.Lock()
	ok = ok && len(s.notes.sent) == 0 && len(s.notes.later.changes) == 0
	s.notes.mu.Unlock()
	s.inject.mu.Lock()
	ok = ok && s.inject.wait == 0
	s.inject.mu.Unlock()
	s.waits.mu.Lock()
	ok = ok && len(s.waits.cancels) == 0
	s.waits.mu.Unlock()
	return mark, ok
}

// Save returns what a session with the same files needs to go on for a copy of this guest,
// which stands still: ErrBusy when it does not before ctx ends. unchanged tells whether
// nothing has happened since. The session goes on. Locks that the guest has here are
// ErrLocked, as nobody else could be given them too.
func (s *Session) Save(ctx context.Context) (saved []byte, unchanged func() bool, err error) {
	tick := time.NewTicker(saveQuiet / 4)
	defer tick.Stop()
	last, since := uint64(0), time.Now()
	for {
		mark, ok := s.still()
		if !ok || mark != last {
			last, since = mark, time.Now()
		}
		if ok && s.opened.Load() && time.Since(since) >= saveQuiet {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("save share: %w: %w", ErrBusy, ctx.Err())
		}
	}
	t, err := s.table()
	if err != nil {
		return nil, nil, fmt.Errorf("save share: %w", err)
	}
	if saved, err = json.Marshal(t); err != nil {
		return nil, nil, fmt.Errorf("save share: %w", err)
	}
	unchanged = func() bool {
		mark, ok := s.still()
		return ok && mark == last
	}
	return saved, unchanged, nil
}

func (s *Session) table() (table, error) {
	out := table{
		Version: tableVersion, Trusted: s.trusted(), Private: s.private, NoSecurity: s.features.NoSecurity,
		Single: s.single != nil, Expire: s.expire.Load(), TID: s.tid.Load(),
	}
	t := &s.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	out.NextNode = t.next
	depth := func(n *node) int {
		d := 0
		for ; n.id != fuse.RootID && len(n.links) > 0 && d < posix.PATH_MAX; d++ {
			n = n.links[len(n.links)-1].dir
		}
		return d
	}
	all := make([]*node, 0, len(t.byID))
	for _, n := range t.byID {
		n.mu.Lock()
		locked := len(n.locks) > 0
		n.mu.Unlock()
		if locked {
			return out, ErrLocked
		}
		for name := range n.missing {
			out.Missing = append(out.Missing, tableName{Dir: n.id, Name: []byte(name)})
		}
		if n.id != fuse.RootID {
			all = append(all, n)
		}
	}
	depths := make(map[*node]int, len(all))
	for _, n := range all {
		depths[n] = depth(n)
	}
	slices.SortFunc(all, func(a, b *node) int {
		if d := depths[a] - depths[b]; d != 0 {
			return d
		}
		return int(a.id) - int(b.id)
	})
	for _, n := range all {
		tn := tableNode{ID: n.id, Type: n.typ, Lookups: n.lookups}
		if len(n.links) > 0 {
			l := n.links[len(n.links)-1]
			tn.Parent, tn.Name = l.dir.id, []byte(l.name)
		}
		out.Nodes = append(out.Nodes, tn)
	}
	s.handles.mu.Lock()
	defer s.handles.mu.Unlock()
	out.NextHandle = s.handles.next
	for _, h := range s.handles.byID {
		out.Handles = append(out.Handles, tableHandle{
			ID: h.id, Node: h.node.id, Dir: h.dir != nil, Flags: h.flags, Direct: h.direct, Mapped: h.mapping != nil,
		})
	}
	slices.SortFunc(out.Handles, func(a, b tableHandle) int { return int(a.ID) - int(b.ID) })
	return out, nil
}
