package share

import (
	"context"
	"fmt"
	"sync"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// A lockOwner is one of the guest that has locks of a kind on a file.
type lockOwner struct {
	owner uint64
	kind  LockKind
}

// waitTable has the requests that wait for locks, and bounds who may have any.
type waitTable struct {
	mu      sync.Mutex // guards the rest
	cancels map[uint64]context.CancelFunc
	owners  int
	limit   int
}

func (t *waitTable) init(limit int) {
	t.cancels, t.limit = make(map[uint64]context.CancelFunc), limit
}

func (t *waitTable) add(unique uint64, cancel context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, twice := t.cancels[unique]; twice || len(t.cancels) >= t.limit {
		return false
	}
	t.cancels[unique] = cancel
	return true
}

func (t *waitTable) remove(unique uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.cancels, unique)
}

// interrupt ends a wait. Requests of other kinds do not wait long, and go on.
func (t *waitTable) interrupt(unique uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cancel := t.cancels[unique]; cancel != nil {
		cancel()
	}
}

func (t *waitTable) count(n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n > 0 && t.owners+n > t.limit {
		return false
	}
	t.owners += n
	return true
}

// waitLock does a SETLKW apart from the pool. It is known to INTERRUPT at once.
func (s *Session) waitLock(ctx context.Context, r *request) error {
	ctx, cancel := context.WithCancel(ctx)
	if !s.waits.add(r.Unique, cancel) {
		cancel()
		r.in.put()
		return s.answer(r, posix.ENOLCK)
	}
	s.queue.wg.Go(func() {
		defer cancel()
		defer s.waits.remove(r.Unique)
		if err := s.run(ctx, r); err != nil {
			s.out.end(fmt.Errorf("answer %v: %w", r.Opcode, err))
		}
	})
	return nil
}

// lockOf reads a request about a lock: ENOSYS where the guest's kernel keeps them.
func (s *Session) lockOf(r *request) (*handle, Lock, error) {
	var m fuse.LkIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return nil, Lock{}, err
	}
	if s.locker == nil {
		return nil, Lock{}, posix.ENOSYS
	}
	l := Lock{Owner: m.Owner, Type: m.Type, Start: m.Start, End: m.End, PID: m.PID}
	if m.Flags&fuse.LkFlock != 0 {
		l.Kind = LockFlock
	}
	if l.Type > posix.F_UNLCK || l.Start > l.End || l.End > maxOffset {
		return nil, Lock{}, posix.EINVAL
	}
	h, err := s.file(r, m.FH)
	return h, l, err
}

func (s *Session) getlk(ctx context.Context, r *request) error {
	h, l, err := s.lockOf(r)
	if err != nil {
		return err
	}
	defer s.done(h)
	other, found, err := s.locker.GetLock(ctx, h.file.ID(), l)
	if err != nil {
		return err
	}
	out := fuse.LkOut{Type: posix.F_UNLCK}
	if found {
		out = fuse.LkOut{Start: other.Start, End: other.End, Type: other.Type, PID: other.PID}
	}
	r.append(out)
	return nil
}

func (s *Session) setlk(ctx context.Context, r *request) error {
	h, l, err := s.lockOf(r)
	if err != nil {
		return err
	}
	defer s.done(h)
	if l.Type != posix.F_UNLCK {
		if err := s.holds(h, lockOwner{l.Owner, l.Kind}); err != nil {
			return err
		}
	}
	if err := s.locker.SetLock(ctx, h.file.ID(), l, r.Opcode == fuse.OpSetlkw); err != nil {
		return err
	}
	if l.Type == posix.F_UNLCK && l.Start == 0 && l.End == maxOffset {
		s.lets(r.node, func(o lockOwner, _ uint64) bool { return o == lockOwner{l.Owner, l.Kind} })
	}
	r.reply(0)
	return nil
}

// holds notes that an owner may have locks through a handle.
func (s *Session) holds(h *handle, o lockOwner) error {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	if _, known := h.node.locks[o]; !known && !s.waits.count(1) {
		return posix.ENOLCK
	}
	if h.node.locks == nil {
		h.node.locks = make(map[lockOwner]uint64)
	}
	h.node.locks[o] = h.id
	return nil
}

// lets takes owners off a node's notes, and returns them.
func (s *Session) lets(n *node, which func(o lockOwner, fh uint64) bool) []lockOwner {
	n.mu.Lock()
	defer n.mu.Unlock()
	var gone []lockOwner
	for o, fh := range n.locks {
		if which(o, fh) {
			delete(n.locks, o)
			s.waits.count(-1)
			gone = append(gone, o)
		}
	}
	return gone
}

// flush is a close(2) of one descriptor: its owner's POSIX locks on the file end. Those
// of the open file description go on.
func (s *Session) flush(_ context.Context, r *request) error {
	var m fuse.FlushIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	h := s.handles.get(m.FH, r.node)
	if h == nil {
		return posix.EBADF
	}
	defer s.done(h)
	if s.locker != nil && h.file != nil {
		owner := lockOwner{m.LockOwner, LockPOSIX}
		s.lets(r.node, func(o lockOwner, _ uint64) bool { return o == owner })
		s.locker.Drop(h.file.ID(), owner.owner, owner.kind)
	}
	if e := h.failed.Load(); e != 0 {
		return posix.Errno(e)
	}
	r.reply(0)
	return nil
}

// dropLocks gives back, at the end of an open file description, the locks that are its
// own: of flock(2), and of F_OFD_SETLK, of which the kernel says nothing. A process's
// POSIX locks have gone with FLUSH by then, unless it has taken them anew through another
// handle, whose they are now.
func (s *Session) dropLocks(h *handle, m fuse.ReleaseIn) {
	if s.locker == nil {
		return
	}
	for _, o := range s.lets(h.node, func(_ lockOwner, fh uint64) bool { return fh == h.id }) {
		s.locker.Drop(h.file.ID(), o.owner, o.kind)
	}
	if m.ReleaseFlags&fuse.ReleaseFlockUnlock != 0 {
		s.locker.Drop(h.file.ID(), m.LockOwner, LockFlock)
	}
}
