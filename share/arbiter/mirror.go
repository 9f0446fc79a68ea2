package arbiter

import (
	"context"
	"fmt"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/posix"
)

// A member's mirror is what it holds as far as the arbiter has answered: what it will
// claim of the next one. Answers come in the order of the arbiter's changes. Methods are
// called with client.mu held.

// newMirror makes one that bounds nothing: the arbiter does.
func newMirror() *lock.Session {
	return lock.New(lock.Limits{Ranges: 1 << 30}).Session("mirror")
}

// keep does to the mirror what the arbiter has done.
func (m *Member) keep(ask *message, err error) error {
	switch {
	case ask.kind == kindDrop:
		m.mirror.Drop(ask.file, ask.lock.Owner, ask.lock.Kind)
	case err == nil:
		if err := m.mirror.SetLock(context.Background(), ask.file, ask.lock, false); err != nil {
			return fmt.Errorf("keep a lock: %w", err)
		}
	default:
		m.giveUpFlock(ask)
	}
	return nil
}

// giveUp takes what a request frees out of the mirror.
func (m *Member) giveUp(ask *message) {
	l := ask.lock
	switch {
	case ask.kind == kindDrop:
		m.mirror.Drop(ask.file, l.Owner, l.Kind)
	case ask.kind != kindSet:
	case l.Kind == share.LockFlock:
		m.giveUpFlock(ask)
	case l.Type == posix.F_UNLCK:
		m.set(ask.file, l)
	case l.Type == posix.F_RDLCK: // what is held for writing there is held for reading
		for _, h := range m.mirror.Held() {
			if h.File == ask.file && h.Lock.Owner == l.Owner && h.Lock.Kind == l.Kind && h.Lock.Type == posix.F_WRLCK {
				part := l
				part.Start, part.End = max(l.Start, h.Lock.Start), min(l.End, h.Lock.End)
				if part.Start <= part.End {
					m.set(ask.file, part)
				}
			}
		}
	}
}

// giveUpFlock drops an flock that was to become another: it goes first, even in vain.
func (m *Member) giveUpFlock(ask *message) {
	l := ask.lock
	if l.Kind == share.LockFlock && m.mirror.Holds(ask.file, l.Owner, l.Kind) != l.Type {
		m.mirror.Drop(ask.file, l.Owner, l.Kind)
	}
}

// set cannot fail: it only frees.
func (m *Member) set(file share.FileID, l share.Lock) {
	if err := m.mirror.SetLock(context.Background(), file, l, false); err != nil {
		m.client.cfg.Log.Error("copy of locks is wrong", logkey.Error, err)
	}
}
