package arbiter

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/lock/locktest"
	"github.com/porthole-run/porthole/share/posix"
)

var (
	file     = share.FileID{Volume: 1, File: 100}
	rootDir  = share.FileID{Volume: 1, File: 2}
	dataDir  = share.FileID{Volume: 1, File: 3}
	otherDir = share.FileID{Volume: 1, File: 4}
)

func exclusive() share.Lock { return share.Lock{Type: posix.F_WRLCK, End: 1<<63 - 1, PID: 7} }

// place is where arbiters run in this process, and can be killed.
type place struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	server  *server
	kill    context.CancelFunc
	ended   chan struct{} // closed when server has
	starts  int
	running sync.WaitGroup
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "arb")
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, dir: dir}
	t.Cleanup(func() {
		p.die()
		p.running.Wait()
		os.RemoveAll(dir)
	})
	return p
}

func (p *place) start(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starts++
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	p.running.Go(func() {
		defer close(ended)
		defer cancel()
		err := run(ctx, p.dir, slog.New(slog.DiscardHandler), func(s *server) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.server, p.kill, p.ended = s, cancel, ended
		})
		if err != nil && ctx.Err() == nil {
			p.t.Errorf("arbiter: %v", err)
		}
	})
	return nil
}

// die ends the arbiter as a kill does: its record stays.
func (p *place) die() {
	p.mu.Lock()
	kill, ended := p.kill, p.ended
	p.mu.Unlock()
	if kill != nil {
		kill()
		<-ended
	}
}

func (p *place) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return 0
	}
	return p.server.table.Waiting()
}

func (p *place) client() *Client {
	c := New(Config{Dir: p.dir, Start: p.start})
	p.t.Cleanup(func() { c.Close() })
	return c
}

// peer is a member with what it was told.
type peer struct {
	*Member
	told chan []share.Change
	lost chan error
	hang chan struct{} // Changed waits for it
}

func join(t *testing.T, c *Client, chain ...share.FileID) *peer {
	t.Helper()
	p := &peer{told: make(chan []share.Change, 1000), lost: make(chan error, 1), hang: make(chan struct{})}
	close(p.hang)
	return joinAs(t, c, p, chain...)
}

func joinAs(t *testing.T, c *Client, p *peer, chain ...share.FileID) *peer {
	t.Helper()
	m, err := c.Join(t.Context(), JoinConfig{
		Chain: append(chain, rootDir),
		Changed: func(ctx context.Context, changes []share.Change) error {
			p.told <- changes
			select {
			case <-p.hang:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Lost: func(err error) { p.lost <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Member = m
	return p
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestMember_IsALocker(t *testing.T) {
	locktest.Run(t, func(t *testing.T, n int) locktest.Lockers {
		p := newPlace(t)
		l := locktest.Lockers{Waiting: p.waiting}
		for range n {
			l.Sessions = append(l.Sessions, join(t, p.client(), dataDir))
		}
		return l
	})
}

func TestMember_OneClientIsALocker(t *testing.T) {
	locktest.Run(t, func(t *testing.T, n int) locktest.Lockers {
		p := newPlace(t)
		c := p.client()
		l := locktest.Lockers{Waiting: p.waiting}
		for range n {
			l.Sessions = append(l.Sessions, join(t, c, dataDir))
		}
		return l
	})
}

func TestShared(t *testing.T) {
	p := newPlace(t)
	sub := share.FileID{Volume: 1, File: 30}
	a := join(t, p.client(), dataDir)
	b := join(t, p.client(), otherDir)
	if a.Shared() || b.Shared() {
		t.Errorf("Shared of apart shares = %v, %v", a.Shared(), b.Shared())
	}
	c := join(t, p.client(), sub, dataDir) // within a's
	if !a.Shared() || b.Shared() || !c.Shared() {
		t.Errorf("Shared with a part of the first = %v, %v, %v", a.Shared(), b.Shared(), c.Shared())
	}
	a.Announce(t.Context(), []share.Change{{File: file, Len: -1}})
	b.Announce(t.Context(), []share.Change{{Dir: file, Name: "x"}})
	if got := <-c.told; len(got) != 1 || got[0].File != file || got[0].Len != -1 {
		t.Errorf("told = %v", got)
	}
	if len(a.told)+len(b.told)+len(c.told) != 0 {
		t.Error("changes went to those whose they are not")
	}
	c.Close()
	eventually(t, "alone again", func() bool { return !a.Shared() })
}

func TestAnnounce_WaitsForGuest(t *testing.T) {
	p := newPlace(t)
	a := join(t, p.client(), dataDir)
	b := joinAs(t, p.client(), &peer{told: make(chan []share.Change, 1000), lost: make(chan error, 1), hang: make(chan struct{})}, dataDir)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Announce(t.Context(), []share.Change{{File: file}})
	}()
	<-b.told
	select {
	case <-done:
		t.Fatal("Announce did not wait")
	default:
	}
	close(b.hang)
	<-done
}

// TestAnnounce_HungGuest: it holds up another once, for the bound; what comes meanwhile
// is told when it goes on, or that anything may have changed.
func TestAnnounce_HungGuest(t *testing.T) {
	p := newPlace(t)
	a := join(t, p.client(), dataDir)
	hung := joinAs(t, p.client(), &peer{told: make(chan []share.Change, 1000), lost: make(chan error, 1), hang: make(chan struct{})}, dataDir)
	begin := time.Now()
	a.Announce(t.Context(), []share.Change{{File: file}})
	if d := time.Since(begin); d < announceTime || d > announceTime+5*time.Second {
		t.Errorf("first Announce took %v", d)
	}
	begin = time.Now()
	for range 3 {
		a.Announce(t.Context(), make([]share.Change, maxChanges/2))
	}
	if d := time.Since(begin); d > announceTime {
		t.Errorf("further ones took %v", d)
	}
	<-hung.told
	close(hung.hang)
	if got := <-hung.told; len(got) != 1 || got[0] != (share.Change{}) {
		t.Errorf("told %d changes, want that anything may have changed", len(got))
	}
	eventually(t, "a member that has caught up is waited for", func() bool {
		a.Announce(t.Context(), []share.Change{{File: file}})
		return len(hung.told) > 0
	})
}

func TestDeath_LocksAreClaimed(t *testing.T) {
	p := newPlace(t)
	a, b, c := join(t, p.client(), dataDir), join(t, p.client(), dataDir), join(t, p.client(), dataDir)
	if err := a.SetLock(t.Context(), file, exclusive(), false); err != nil {
		t.Fatal(err)
	}
	l := exclusive()
	l.Kind = share.LockFlock
	if err := b.SetLock(t.Context(), file, l, false); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() { waits <- b.SetLock(t.Context(), file, exclusive(), true) }()
	for round := range 5 {
		eventually(t, "wait", func() bool { return p.waiting() == 1 })
		p.mu.Lock()
		old := p.server
		p.mu.Unlock()
		p.die()
		if err := c.SetLock(t.Context(), file, exclusive(), false); !errors.Is(err, posix.EAGAIN) {
			t.Fatalf("round %d: lock of another = %v", round, err)
		}
		if err := c.SetLock(t.Context(), file, l, false); !errors.Is(err, posix.EAGAIN) {
			t.Fatalf("round %d: flock of another = %v", round, err)
		}
		a.Announce(t.Context(), []share.Change{{File: file}})
		if got := <-b.told; got[0].File != file {
			t.Errorf("round %d: told %v", round, got)
		}
		<-c.told
		p.mu.Lock()
		if p.server == old {
			t.Error("the arbiter did not die")
		}
		p.mu.Unlock()
	}
	a.Drop(file, 0, share.LockPOSIX)
	if err := <-waits; err != nil {
		t.Errorf("wait = %v", err)
	}
	for _, m := range []*peer{a, b, c} {
		select {
		case err := <-m.lost:
			t.Errorf("lost: %v", err)
		default:
		}
	}
}

// TestDeath_WithAMember: the next arbiter waits for the dead member's claims no longer
// than the bound, and its locks are free then.
func TestDeath_WithAMember(t *testing.T) {
	p := newPlace(t)
	a, b := join(t, p.client(), dataDir), join(t, p.client(), dataDir)
	if err := a.SetLock(t.Context(), file, exclusive(), false); err != nil {
		t.Fatal(err)
	}
	a.client.stop() // as if killed: it says nothing
	p.die()
	begin := time.Now()
	eventually(t, "lock", func() bool { return b.SetLock(t.Context(), file, exclusive(), false) == nil })
	if d := time.Since(begin); d > graceTime+5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// TestLate: who was away while others could ask has lost its locks.
func TestLate(t *testing.T) {
	p := newPlace(t)
	ca, cb := p.client(), p.client()
	a, b := join(t, ca, dataDir), join(t, cb, dataDir)
	if err := a.SetLock(t.Context(), file, exclusive(), false); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	s := p.server
	p.mu.Unlock()
	s.mu.Lock()
	for _, c := range s.clients {
		c.net.Close()
	}
	s.mu.Unlock()
	if err := <-a.lost; !errors.Is(err, posix.EIO) {
		t.Errorf("lost: %v", err)
	}
	if err := a.SetLock(t.Context(), file, exclusive(), false); !errors.Is(err, posix.EIO) {
		t.Errorf("SetLock of a lost member = %v", err)
	}
	if got := <-b.told; got[0] != (share.Change{}) {
		t.Errorf("told %v", got)
	}
	if err := b.SetLock(t.Context(), file, exclusive(), false); err != nil {
		t.Error(err)
	}
	eventually(t, "the other knows that it is alone", func() bool { return !b.Shared() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.reqs; len(s.members) != 1 || n > 10 {
		t.Errorf("%d members, %d messages: the connection does not last", len(s.members), n)
	}
}

// BenchmarkSetLock is one lock and unlock through the arbiter.
func BenchmarkSetLock(b *testing.B) {
	dir := b.TempDir()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- Main(ctx, dir, slog.New(slog.DiscardHandler)) }()
	defer func() { cancel(); <-done }()
	c := New(Config{Dir: dir, Start: func(context.Context) error { return nil }})
	defer c.Close()
	m, err := c.Join(ctx, JoinConfig{Chain: []share.FileID{rootDir}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := m.SetLock(ctx, file, exclusive(), true); err != nil {
			b.Fatal(err)
		}
		m.Drop(file, 0, share.LockPOSIX)
	}
}

func TestNoArbiter(t *testing.T) {
	c := New(Config{Dir: t.TempDir(), Start: func(context.Context) error { return errors.New("no") }})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Join(ctx, JoinConfig{Chain: []share.FileID{rootDir}}); !errors.Is(err, posix.EINTR) {
		t.Errorf("Join = %v", err)
	}
	c.Close()
	if _, err := c.Join(t.Context(), JoinConfig{Chain: []share.FileID{rootDir}}); !errors.Is(err, posix.ENOTCONN) {
		t.Errorf("Join after Close = %v", err)
	}
}

func TestMain_NobodyComes(t *testing.T) {
	if err := Main(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

// TestEnds: without members it goes, and leaves nothing but its lock file.
func TestEnds(t *testing.T) {
	p := newPlace(t)
	join(t, p.client(), dataDir).Close()
	p.running.Wait()
	entries, err := os.ReadDir(p.dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "arbiter.lock" {
		t.Errorf("left: %v, %v", entries, err)
	}
	join(t, p.client(), dataDir) // and comes again
	if p.starts != 2 {
		t.Errorf("%d starts, want 2", p.starts)
	}
}
