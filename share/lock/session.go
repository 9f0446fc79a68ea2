package lock

import (
	"context"
	"fmt"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

var _ share.Locker = (*Session)(nil)

// Session has the locks of one guest. It implements share.Locker.
type Session struct {
	table *Table // immutable
	id    uint64 // immutable
	name  string // immutable; for errors

	// Guarded by table.mu.
	closed bool
	held   map[heldKey]int // ranges that each owner has
	ranges int             // of all owners
	waits  map[*wait]struct{}
}

type heldKey struct {
	space spaceKey
	owner uint64
}

// Held is a lock and the file that it is on.
type Held struct {
	File share.FileID
	Lock share.Lock
}

// Session begins a session. The name is for errors.
func (t *Table) Session(name string) *Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sessions++
	return &Session{table: t, id: t.sessions, name: name, held: map[heldKey]int{}, waits: map[*wait]struct{}{}}
}

// GetLock implements share.Locker. A lock of another session has neither owner nor PID.
func (s *Session) GetLock(_ context.Context, file share.FileID, l share.Lock) (share.Lock, bool, error) {
	want, err := toSpan(l)
	if err == nil && l.Type == posix.F_UNLCK {
		err = fmt.Errorf("lock of type %d: %w", l.Type, posix.EINVAL)
	}
	if err != nil {
		return share.Lock{}, false, err
	}
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.closed {
		return share.Lock{}, false, s.gone()
	}
	sp := t.spaces[spaceKey{file, l.Kind}]
	if sp == nil {
		return share.Lock{}, false, nil
	}
	n := sp.conflict(ownerKey{s, l.Owner}, want)
	if n == nil {
		return share.Lock{}, false, nil
	}
	found := share.Lock{Kind: l.Kind, Type: n.typ, Start: n.start, End: n.end}
	if n.who.session == s {
		found.Owner, found.PID = n.who.owner, n.pid
	}
	return found, true, nil
}

// SetLock implements share.Locker. A lock that was had before ctx ended is kept: the
// answer is no error then.
func (s *Session) SetLock(ctx context.Context, file share.FileID, l share.Lock, wait bool) error {
	done := make(chan error, 1)
	cancel := s.Ask(file, l, wait, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	default:
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		cancel()
		return <-done
	}
}

// Ask is SetLock for callers that keep the order in which the table's changes are made:
// done is called once with SetLock's answer, at the moment of the change and before any
// other. It must neither block nor call the table. cancel ends a wait with EINTR; later
// it does nothing.
func (s *Session) Ask(file share.FileID, l share.Lock, wait bool, done func(error)) (cancel func()) {
	want, err := toSpan(l)
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && s.closed {
		err = s.gone()
	}
	if err != nil {
		done(err)
		return func() {}
	}
	sp := t.space(spaceKey{file, l.Kind})
	defer t.tidy(sp)
	w := t.ask(sp, ownerKey{s, l.Owner}, want, wait, done)
	if w == nil {
		return func() {}
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if _, ok := s.waits[w]; ok {
			t.end(w, posix.EINTR)
		}
	}
}

// end ends a wait.
func (t *Table) end(w *wait, err error) {
	t.dequeue(w)
	w.done(err)
	t.tidy(w.space)
}

// Drop implements share.Locker. Waits of the owner go on.
func (s *Session) Drop(file share.FileID, owner uint64, kind share.LockKind) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	s.drop(heldKey{spaceKey{file, kind}, owner})
}

// DropThen is Drop; it calls done at the moment of the change, as Ask does.
func (s *Session) DropThen(file share.FileID, owner uint64, kind share.LockKind, done func()) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	done()
	s.drop(heldKey{spaceKey{file, kind}, owner})
}

func (s *Session) drop(k heldKey) {
	sp := s.table.spaces[k.space]
	if sp != nil && sp.remove(ownerKey{s, k.owner}) {
		s.table.wake(sp)
		s.table.tidy(sp)
	}
}

// Held returns all locks of the session, in no order, each range once.
func (s *Session) Held() []Held {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	all := make([]Held, 0, s.ranges)
	for k := range s.held {
		for _, r := range s.table.spaces[k.space].owners[ownerKey{s, k.owner}] {
			all = append(all, Held{k.space.file, share.Lock{
				Kind: k.space.kind, Owner: k.owner, Type: r.typ, Start: r.start, End: r.end, PID: r.pid,
			}})
		}
	}
	return all
}

// Holds returns the type of the lock that an owner has at a file's first byte; F_UNLCK
// for none.
func (s *Session) Holds(file share.FileID, owner uint64, kind share.LockKind) uint32 {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	if sp := s.table.spaces[spaceKey{file, kind}]; sp != nil {
		if held := sp.owners[ownerKey{s, owner}]; len(held) > 0 && held[0].start == 0 {
			return held[0].typ
		}
	}
	return posix.F_UNLCK
}

// Waiting returns how many waits of all sessions are under way.
func (t *Table) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, s := range t.spaces {
		n += len(s.waits)
	}
	return n
}

// Close implements share.Locker: waits end with ENOTCONN, as does what is asked after it.
func (s *Session) Close() error {
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	s.closed = true
	for w := range s.waits {
		t.end(w, s.gone())
	}
	for k := range s.held {
		s.drop(k)
	}
	return nil
}

func (s *Session) gone() error { return fmt.Errorf("locks of %s: closed: %w", s.name, posix.ENOTCONN) }

// toSpan checks a lock that a guest has sent.
func toSpan(l share.Lock) (span, error) {
	switch {
	case l.Kind > share.LockMapping:
		return span{}, fmt.Errorf("lock of kind %d: %w", l.Kind, posix.EINVAL)
	case l.Type != posix.F_RDLCK && l.Type != posix.F_WRLCK && l.Type != posix.F_UNLCK:
		return span{}, fmt.Errorf("lock of type %d: %w", l.Type, posix.EINVAL)
	case l.Kind == share.LockFlock:
		return span{0, MaxOffset, l.Type, l.PID}, nil
	case l.Start > l.End || l.End > MaxOffset:
		return span{}, fmt.Errorf("lock from %d to %d: %w", l.Start, l.End, posix.EINVAL)
	}
	return span{l.Start, l.End, l.Type, l.PID}, nil
}
