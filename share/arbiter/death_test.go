package arbiter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// TestDeath_Exclusion: whenever the arbiter dies, never do two have the lock, and none
// loses it.
func TestDeath_Exclusion(t *testing.T) {
	p := newPlace(t)
	var inside, turns atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 4 {
		m := join(t, p.client(), dataDir)
		l := exclusive()
		workers.Go(func() {
			for ctx.Err() == nil {
				if err := m.SetLock(ctx, file, l, true); err != nil {
					if !errors.Is(err, posix.EINTR) {
						t.Errorf("lock: %v", err)
					}
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				turns.Add(1)
				m.Announce(ctx, []share.Change{{File: file}})
				for len(m.told) > 0 {
					<-m.told
				}
				inside.Add(-1)
				m.Drop(file, l.Owner, l.Kind)
			}
		})
	}
	for range 12 {
		before := turns.Load()
		eventually(t, "turns go on", func() bool { return turns.Load() > before+20 })
		p.die()
	}
	cancel()
	workers.Wait()
}

// dieAfter is a member that dies after n bytes to the arbiter, in
// the midst of what it does.
func dieAfter(t *testing.T, dir string, frames []*message, n int) bool {
	t.Helper()
	nc, err := localsock.Dial(t.Context(), files(dir).socket())
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, m := range frames {
		if b, err = encode(b, m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nc.Write(b[:min(n, len(b))]); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	return n < len(b)
}

// TestMember_DiesAtEveryStep: however far a member has come, its death frees all.
func TestMember_DiesAtEveryStep(t *testing.T) {
	p := newPlace(t)
	m := join(t, p.client(), dataDir)
	other := exclusive()
	other.Kind = share.LockFlock
	if err := m.SetLock(t.Context(), file, other, false); err != nil {
		t.Fatal(err)
	}
	frames := []*message{
		{kind: kindHello, version: version, client: 99},
		{kind: kindJoin, req: 1, member: 1, chain: []share.FileID{dataDir, rootDir}},
		{kind: kindSet, req: 2, member: 1, file: file, lock: exclusive()},
		{kind: kindSet, req: 3, member: 1, flag: true, file: file, lock: other}, // waits
		{kind: kindAnnounce, req: 4, member: 1, changes: []share.Change{{File: file}}},
		{kind: kindCancel, req: 3},
		{kind: kindLeave, req: 5, member: 1},
	}
	for n, more := 0, true; more; n += 7 {
		more = dieAfter(t, p.dir, frames, n)
		if err := m.SetLock(t.Context(), file, exclusive(), true); err != nil {
			t.Fatal(fmt.Errorf("after %d bytes: %w", n, err))
		}
		m.Drop(file, 0, share.LockPOSIX)
		for len(m.told) > 0 {
			<-m.told
		}
	}
	eventually(t, "alone again", func() bool { return !m.Shared() })
	if n := p.waiting(); n != 0 {
		t.Errorf("%d waits are left", n)
	}
}

// TestJoin_Cancelled: beside a server that does not say that it announces a join waits,
// as long as its caller does.
func TestJoin_Cancelled(t *testing.T) {
	p := newPlace(t)
	join(t, p.client(), otherDir)
	nc, err := localsock.Dial(t.Context(), files(p.dir).socket())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b, _ := encode(nil, &message{kind: kindHello, version: version, client: 99})
	b, _ = encode(b, &message{kind: kindJoin, req: 1, member: 1, chain: []share.FileID{dataDir}})
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	for range 2 { // welcome, joined
		if _, err := receive(nc); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = p.client().Join(ctx, JoinConfig{Chain: []share.FileID{dataDir}})
	if !errors.Is(err, posix.EINTR) {
		t.Errorf("Join beside a silent client = %v", err)
	}
}

// TestSilent: where an arbiter that does not answer cannot be ended, those that rely on it
// are lost, and nobody waits.
func TestSilent(t *testing.T) {
	dir, err := os.MkdirTemp("", "arb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := localsock.Listen(t.Context(), files(dir).socket())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var served sync.WaitGroup
	defer served.Wait()
	served.Go(func() { // it welcomes, lets join, and says no more
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		for {
			m, err := receive(nc)
			if err != nil {
				return
			}
			var answer *message
			switch m.kind {
			case kindHello:
				answer = &message{kind: kindWelcome, version: version, instance: 1}
			case kindJoin:
				answer = &message{kind: kindReply, req: m.req}
			default:
				continue
			}
			b, err := encode(nil, answer)
			if err == nil {
				_, err = nc.Write(b)
			}
			if err != nil {
				return
			}
		}
	})
	c := New(Config{Dir: dir, Start: func(context.Context) error { return errors.New("no") }})
	defer c.Close()
	c.silent = 50 * time.Millisecond
	c.endPeer = func(net.Conn) error { return errors.ErrUnsupported }
	m := join(t, c, dataDir)
	if err := m.SetLock(t.Context(), file, exclusive(), false); !errors.Is(err, posix.EIO) {
		t.Errorf("SetLock = %v, want EIO", err)
	}
	if err := <-m.lost; !errors.Is(err, errSilent) {
		t.Errorf("lost: %v", err)
	}
}
