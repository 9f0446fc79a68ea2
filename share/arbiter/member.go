package arbiter

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/posix"
)

var (
	_ share.Locker = (*Member)(nil)
	_ share.Peers  = (*Member)(nil)
)

// Member is one share at the arbiter. It implements share.Locker and share.Peers. Its
// owner closes it.
type Member struct {
	client *Client            // immutable
	id     uint32             // immutable
	cfg    JoinConfig         // immutable
	stop   context.CancelFunc // immutable: ends listen
	mirror *lock.Session      // immutable; changed with client.mu held
	shared atomic.Bool
	news   chan struct{} // has one when there is something for listen

	// Guarded by client.mu.
	joined bool
	held   bool  // it had locks when the connection ended: its guest relied on them since
	err    error // why it is lost
	inbox  []batch
}

// batch is changes to confirm on the connection that they came from.
type batch struct {
	req     uint64
	out     *queue
	changes []share.Change
}

// newMember makes a member and its goroutine. c.mu is held.
func newMember(c *Client, id uint32, cfg JoinConfig) *Member {
	ctx, stop := context.WithCancel(context.Background())
	m := &Member{client: c, id: id, cfg: cfg, stop: stop, mirror: newMirror(), news: make(chan struct{}, 1)}
	c.work.Go(func() { m.listen(ctx) })
	return m
}

func (m *Member) poke() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// listen tells the share of changes until the member ends.
func (m *Member) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.news:
		}
		m.client.mu.Lock()
		inbox, lost := m.inbox, m.err
		m.inbox = nil
		m.client.mu.Unlock()
		if lost != nil {
			if m.cfg.Lost != nil {
				m.cfg.Lost(lost)
			}
			return
		}
		for _, b := range inbox {
			// A share that could not drop what it caches ends by itself: nobody is to wait.
			if err := m.cfg.Changed(ctx, b.changes); err != nil && ctx.Err() == nil {
				m.client.cfg.Log.Debug("share did not take changes", logkey.Error, err)
			}
			if b.out != nil {
				b.out.push(&message{kind: kindConfirm, req: b.req, member: m.id})
			}
		}
	}
}

// ask sends a request if the member goes on.
func (m *Member) ask(ask *message) (*call, error) {
	c := m.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[m.id] != m {
		if m.err != nil {
			return nil, m.err
		}
		return nil, fmt.Errorf("share is closed: %w", posix.ENOTCONN)
	}
	return c.ask(m, ask), nil
}

// GetLock implements share.Locker.
func (m *Member) GetLock(ctx context.Context, file share.FileID, l share.Lock) (share.Lock, bool, error) {
	if l.Kind > share.LockMapping {
		return share.Lock{}, false, posix.EINVAL
	}
	call, err := m.ask(&message{kind: kindGet, file: file, lock: l})
	if err != nil {
		return share.Lock{}, false, err
	}
	r := m.client.wait(ctx, call)
	if r.err != nil || !r.reply.flag {
		return share.Lock{}, false, r.err
	}
	return r.reply.lock, true, nil
}

// SetLock implements share.Locker. It may wait for an arbiter even when wait is not set.
func (m *Member) SetLock(ctx context.Context, file share.FileID, l share.Lock, wait bool) error {
	if l.Kind > share.LockMapping {
		return posix.EINVAL
	}
	call, err := m.ask(&message{kind: kindSet, flag: wait, file: file, lock: l})
	if err != nil {
		return err
	}
	return m.client.wait(ctx, call).err
}

// Drop implements share.Locker. It returns when the locks are gone for others too.
func (m *Member) Drop(file share.FileID, owner uint64, kind share.LockKind) {
	if kind > share.LockMapping {
		return
	}
	if call, err := m.ask(&message{kind: kindDrop, file: file, lock: share.Lock{Kind: kind, Owner: owner}}); err == nil {
		<-call.done
	}
}

// announceBound is how long Announce waits when there is no arbiter for a while.
const announceBound = 10 * time.Second

// Announce implements share.Peers.
func (m *Member) Announce(ctx context.Context, changes []share.Change) {
	if len(changes) == 0 || !m.Shared() {
		return
	}
	for _, ch := range changes {
		if len(ch.Name) > maxName {
			changes = anything
			break
		}
	}
	if len(changes) > maxChanges {
		changes = anything
	}
	call, err := m.ask(&message{kind: kindAnnounce, changes: changes})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, announceBound)
	defer cancel()
	m.client.wait(ctx, call)
}

// Shared implements share.Peers. It must be asked after a change was made, not before.
func (m *Member) Shared() bool { return m.shared.Load() }

// Close implements share.Locker; the member is none of the Peers any more either. It
// does not wait for Changed.
func (m *Member) Close() error {
	defer m.stop()
	c := m.client
	c.mu.Lock()
	if c.members[m.id] != m {
		c.mu.Unlock()
		return nil
	}
	c.forget(m, fmt.Errorf("share is closed: %w", posix.ENOTCONN))
	if c.out == nil {
		c.mu.Unlock()
		return nil // it claims nothing of the next arbiter
	}
	call := c.ask(m, &message{kind: kindLeave})
	c.mu.Unlock()
	<-call.done
	return nil
}
