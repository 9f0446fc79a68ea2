package locktest

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Lockers are sessions that keep locks against each other.
type Lockers struct {
	Sessions []share.Locker
	Waiting  func() int // waits of all sessions that have begun and not ended
}

const (
	unlock = posix.F_UNLCK
	read   = posix.F_RDLCK
	write  = posix.F_WRLCK
	forAll = 1<<63 - 1
)

var (
	fileA = share.FileID{Volume: 1, File: 10, Birth: 7}
	fileB = share.FileID{Volume: 1, File: 11}
)

func rng(owner uint64, typ uint32, start, end uint64) share.Lock {
	return share.Lock{Owner: owner, Type: typ, Start: start, End: end, PID: uint32(owner) * 100}
}

func flock(owner uint64, typ uint32) share.Lock {
	return share.Lock{Kind: share.LockFlock, Owner: owner, Type: typ, End: forAll, PID: uint32(owner) * 100}
}

// env is one test's sessions.
type env struct {
	*testing.T
	Lockers
}

// Run checks what open makes: that many new sessions of a table of their own.
func Run(t *testing.T, open func(t *testing.T, sessions int) Lockers) {
	for _, tt := range []struct {
		name     string
		sessions int
		run      func(e env)
	}{
		{"ranges", 2, testRanges},
		{"flock", 2, testFlock},
		{"get", 2, testGet},
		{"bad_input", 1, testBadInput},
		{"drop", 2, testDrop},
		{"close", 2, testClose},
		{"wait_in_order", 4, testWaitInOrder},
		{"wait_interrupted", 2, testWaitInterrupted},
		{"wait_ends_with_close", 2, testWaitEndsWithClose},
		{"deadlock", 2, testDeadlock},
		{"flock_upgrade_waits", 2, testFlockUpgradeWaits},
		{"random", 3, testRandom},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(env{t, open(t, tt.sessions)}) })
	}
}

// set wants an answer at once; 0 is none.
func (e env) set(session int, file share.FileID, l share.Lock, want posix.Errno) {
	e.Helper()
	if err := e.Sessions[session].SetLock(e.Context(), file, l, false); posix.FromError(err) != want {
		e.Errorf("SetLock(session %d, %+v) = %v, want %v", session, l, err, want.Name())
	}
}

// wait begins to wait, and returns when the wait is under way.
func (e env) wait(ctx context.Context, session int, file share.FileID, l share.Lock) <-chan error {
	e.Helper()
	before := e.Waiting()
	done := make(chan error, 1)
	go func() { done <- e.Sessions[session].SetLock(ctx, file, l, true) }()
	e.until("a wait", func() bool { return e.Waiting() > before })
	return done
}

func (e env) until(what string, f func() bool) {
	e.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-limit:
			e.Fatalf("no %s", what)
		}
	}
}

func (e env) ends(done <-chan error, want posix.Errno) {
	e.Helper()
	select {
	case err := <-done:
		if posix.FromError(err) != want {
			e.Errorf("wait = %v, want %v", err, want.Name())
		}
	case <-time.After(20 * time.Second):
		e.Fatalf("wait goes on, want %v", want.Name())
	}
}

func testRanges(e env) {
	e.set(0, fileA, rng(1, write, 10, 19), 0)
	e.set(0, fileA, rng(1, read, 14, 15), 0) // splits
	e.set(1, fileA, rng(1, read, 14, 15), 0) // same number, another session: another owner
	e.set(1, fileA, rng(1, read, 13, 13), posix.EAGAIN)
	e.set(0, fileA, rng(2, read, 16, 16), posix.EAGAIN)
	e.set(0, fileA, rng(1, write, 14, 14), posix.EAGAIN) // upgrade against a reader
	e.set(1, fileA, rng(1, unlock, 0, forAll), 0)
	e.set(0, fileA, rng(1, write, 14, 15), 0) // merges
	e.set(0, fileA, rng(1, unlock, 12, 17), 0)
	e.set(1, fileA, rng(1, write, 12, 17), 0)
	e.set(1, fileA, rng(1, write, 18, forAll), posix.EAGAIN)
	e.set(1, fileA, rng(1, write, 20, forAll), 0)
	e.set(0, fileA, rng(1, write, forAll, forAll), posix.EAGAIN)
	e.set(0, fileB, rng(1, write, 0, forAll), 0) // another file
	e.set(1, fileA, flock(1, write), 0)          // another kind
}

func testFlock(e env) {
	e.set(0, fileA, flock(1, read), 0)
	e.set(1, fileA, flock(1, read), 0)
	e.set(0, fileA, flock(1, read), 0)
	e.set(0, fileA, flock(1, write), posix.EAGAIN)
	e.set(1, fileA, flock(1, write), 0) // what failed to become exclusive has lost what it had
	e.set(0, fileA, flock(2, read), posix.EAGAIN)
	e.set(1, fileA, flock(1, read), 0)
	e.set(0, fileA, flock(2, read), 0)
	e.set(0, fileA, rng(1, write, 0, forAll), 0)
}

func testGet(e env) {
	get := func(session int, l share.Lock, want share.Lock, found bool) {
		e.Helper()
		got, ok, err := e.Sessions[session].GetLock(e.Context(), fileA, l)
		if got != want || ok != found || err != nil {
			e.Errorf("GetLock(session %d, %+v) = %+v, %v, %v, want %+v, %v", session, l, got, ok, err, want, found)
		}
	}
	get(0, rng(1, write, 0, forAll), share.Lock{}, false)
	e.set(0, fileA, rng(1, write, 10, 19), 0)
	get(0, rng(1, write, 0, forAll), share.Lock{}, false)
	get(0, rng(2, write, 0, forAll), rng(1, write, 10, 19), true)
	get(0, rng(2, write, 0, 9), share.Lock{}, false)
	get(1, rng(1, read, 15, 15), share.Lock{Type: write, Start: 10, End: 19}, true)
	e.set(0, fileA, rng(1, read, 10, 19), 0)
	get(1, rng(1, read, 15, 15), share.Lock{}, false)
	if _, _, err := e.Sessions[0].GetLock(e.Context(), fileA, rng(1, unlock, 0, 1)); !errors.Is(err, posix.EINVAL) {
		e.Errorf("GetLock of an unlock = %v", err)
	}
}

func testBadInput(e env) {
	e.set(0, fileA, rng(1, 3, 0, 1), posix.EINVAL)
	e.set(0, fileA, rng(1, read, 2, 1), posix.EINVAL)
	e.set(0, fileA, rng(1, read, 2, forAll+1), posix.EINVAL)
	e.set(0, fileA, share.Lock{Kind: 9, Type: read}, posix.EINVAL)
}

func testDrop(e env) {
	e.set(0, fileA, rng(1, write, 0, 3), 0)
	e.set(0, fileA, rng(1, read, 8, 9), 0)
	e.set(0, fileA, rng(2, write, 20, 29), 0)
	e.set(0, fileA, flock(1, write), 0)
	e.set(0, fileB, rng(1, write, 0, 3), 0)
	e.Sessions[0].Drop(fileA, 1, share.LockPOSIX)
	e.Sessions[0].Drop(fileA, 7, share.LockPOSIX)
	e.set(1, fileA, rng(1, write, 0, 9), 0)
	e.set(1, fileA, rng(1, write, 20, 20), posix.EAGAIN)
	e.set(1, fileA, flock(1, read), posix.EAGAIN)
	e.set(1, fileB, rng(1, write, 0, 3), posix.EAGAIN)
}

func testClose(e env) {
	e.set(0, fileA, rng(1, write, 0, 3), 0)
	e.set(0, fileA, rng(2, write, 5, 6), 0)
	e.set(0, fileB, flock(1, write), 0)
	waits := e.wait(e.Context(), 1, fileA, rng(1, write, 0, forAll))
	for range 2 {
		if err := e.Sessions[0].Close(); err != nil {
			e.Errorf("Close = %v", err)
		}
	}
	e.ends(waits, 0)
	e.set(1, fileB, flock(1, write), 0)
	e.set(0, fileB, flock(1, write), posix.ENOTCONN)
	if _, _, err := e.Sessions[0].GetLock(e.Context(), fileA, rng(1, read, 0, 1)); !errors.Is(err, posix.ENOTCONN) {
		e.Errorf("GetLock after Close = %v", err)
	}
}

func testWaitInOrder(e env) {
	e.set(0, fileA, rng(1, write, 0, 9), 0)
	first := e.wait(e.Context(), 1, fileA, rng(1, write, 5, 20))
	second := e.wait(e.Context(), 2, fileA, rng(1, write, 0, 9))
	third := e.wait(e.Context(), 3, fileA, rng(1, read, 0, 4))
	e.set(0, fileA, rng(1, unlock, 0, 9), 0)
	e.ends(first, 0)
	e.ends(third, 0) // the second stops nobody while it waits
	e.set(1, fileA, rng(1, unlock, 0, forAll), 0)
	e.Sessions[3].Drop(fileA, 1, share.LockPOSIX)
	e.ends(second, 0)
	e.set(0, fileA, rng(1, read, 9, 9), posix.EAGAIN)
}

func testWaitInterrupted(e env) {
	e.set(0, fileA, rng(1, write, 0, 9), 0)
	ctx, cancel := context.WithCancel(e.Context())
	waits := e.wait(ctx, 1, fileA, rng(1, write, 0, 0))
	cancel()
	e.ends(waits, posix.EINTR)
	e.set(0, fileA, rng(1, unlock, 0, 9), 0)
	e.set(0, fileA, rng(2, write, 0, 9), 0)
}

func testWaitEndsWithClose(e env) {
	e.set(0, fileA, flock(1, write), 0)
	waits := e.wait(e.Context(), 1, fileA, flock(1, read))
	if err := e.Sessions[1].Close(); err != nil {
		e.Errorf("Close = %v", err)
	}
	e.ends(waits, posix.ENOTCONN)
}

func testDeadlock(e env) {
	e.set(0, fileA, rng(1, write, 0, 0), 0)
	e.set(1, fileB, rng(1, write, 5, 5), 0)
	e.set(0, fileB, rng(2, write, 9, 9), 0)
	a := e.wait(e.Context(), 0, fileB, rng(1, read, 0, 7))
	b := e.wait(e.Context(), 1, fileB, rng(1, write, 9, 9)) // of owner 2: no circle yet
	if err := e.Sessions[0].SetLock(e.Context(), fileA, rng(2, write, 0, 0), true); !errors.Is(err, posix.EDEADLK) {
		e.Errorf("wait in a circle of three = %v", err)
	}
	e.set(0, fileB, rng(2, unlock, 0, forAll), 0)
	e.ends(b, 0)
	e.set(1, fileB, rng(1, unlock, 0, forAll), 0)
	e.ends(a, 0)
}

func testFlockUpgradeWaits(e env) {
	e.set(0, fileA, flock(1, read), 0)
	e.set(1, fileA, flock(1, read), 0)
	a := e.wait(e.Context(), 0, fileA, flock(1, write))
	// Now only the second has it: its own upgrade is free, and the first goes on waiting.
	e.set(1, fileA, flock(1, write), 0)
	e.Sessions[1].Drop(fileA, 1, share.LockFlock)
	e.ends(a, 0)
	e.set(1, fileA, flock(1, read), posix.EAGAIN)
}

// testRandom compares with the Model.
func testRandom(e env) {
	r := rand.New(rand.NewPCG(1, 2))
	m := NewModel()
	for step := range 1500 {
		session, file, l := Random(r, len(e.Sessions))
		switch r.IntN(12) {
		case 0:
			m.Drop(session, file, l.Owner, l.Kind)
			e.Sessions[session].Drop(file, l.Owner, l.Kind)
		case 1, 2:
			if l.Type == unlock {
				continue
			}
			_, got, err := e.Sessions[session].GetLock(e.Context(), file, l)
			if want := m.Get(session, file, l); got != want || err != nil {
				e.Fatalf("step %d: GetLock(session %d, %+v) = %v, %v, want %v", step, session, l, got, err, want)
			}
		default:
			var want error
			m.Ask(session, file, l, false, func(err error) { want = err })
			if got := e.Sessions[session].SetLock(e.Context(), file, l, false); posix.FromError(got) != posix.FromError(want) {
				e.Fatalf("step %d: SetLock(session %d, %+v) = %v, want %v", step, session, l, got, want)
			}
		}
	}
}

// Random returns a lock that the Model knows.
func Random(r *rand.Rand, sessions int) (session int, file share.FileID, l share.Lock) {
	file = []share.FileID{fileA, fileB}[r.IntN(2)]
	l = share.Lock{Owner: uint64(r.IntN(3)), Type: uint32(r.IntN(3)), Start: r.Uint64N(Bytes)}
	l.End = min(l.Start+r.Uint64N(8), Bytes-1)
	if l.End == Bytes-1 {
		l.End = forAll
	}
	if r.IntN(6) == 0 {
		l.Kind = share.LockFlock
	}
	return r.IntN(sessions), file, l
}
