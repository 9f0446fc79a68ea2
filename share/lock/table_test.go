package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/lock/locktest"
	"github.com/porthole-run/porthole/share/posix"
)

var file = share.FileID{Volume: 1, File: 2}

func TestLocker(t *testing.T) {
	locktest.Run(t, func(_ *testing.T, n int) locktest.Lockers {
		table := lock.New(lock.Limits{})
		l := locktest.Lockers{Waiting: table.Waiting}
		for i := range n {
			l.Sessions = append(l.Sessions, table.Session(fmt.Sprint(i)))
		}
		return l
	})
}

// side is the table or the model, with what its waits were answered.
type side struct {
	answers []string
	cancels []func()
}

func (s *side) done(name int) func(error) {
	return func(err error) {
		text := "0"
		if err != nil {
			text = posix.FromError(err).Name()
		}
		s.answers = append(s.answers, fmt.Sprint(name, " ", text))
	}
}

// compare does the same at random, waits included, to a table and to the model, and
// compares each answer and its moment.
func compare(t *testing.T, r *rand.Rand, steps int) {
	const sessions = 3
	table, model := lock.New(lock.Limits{}), locktest.NewModel()
	var all []*lock.Session
	for i := range sessions {
		all = append(all, table.Session(fmt.Sprint(i)))
	}
	var got, want side
	for step := range steps {
		i, f, l := locktest.Random(r, sessions)
		what := ""
		switch kind := r.IntN(10); {
		case kind == 0:
			what = fmt.Sprintf("Drop(%d, %v, %d)", i, f, l.Owner)
			all[i].Drop(f, l.Owner, l.Kind)
			model.Drop(i, f, l.Owner, l.Kind)
		case kind == 1 && len(got.cancels) > 0:
			n := r.IntN(len(got.cancels))
			what = fmt.Sprintf("cancel %d", n)
			got.cancels[n]()
			want.cancels[n]()
		default:
			wait := kind < 6
			what = fmt.Sprintf("Ask(%d, %v, %+v, %v)", i, f, l, wait)
			got.cancels = append(got.cancels, all[i].Ask(f, l, wait, got.done(step)))
			want.cancels = append(want.cancels, model.Ask(i, f, l, wait, want.done(step)))
		}
		if diff := cmp.Diff(want.answers, got.answers); diff != "" {
			t.Fatalf("step %d: %s: answers (-want +got):\n%s", step, what, diff)
		}
		checkHeld(t, model, all)
		if t.Failed() {
			t.Fatalf("step %d: %s", step, what)
		}
		if len(got.answers) > 100 {
			got.answers, want.answers = nil, nil
		}
	}
	for _, s := range all {
		s.Close()
	}
	if n := table.Waiting(); n != 0 {
		t.Errorf("%d waits after Close", n)
	}
}

// checkHeld compares what sessions hold, byte by byte.
func checkHeld(t *testing.T, model *locktest.Model, all []*lock.Session) {
	t.Helper()
	type place struct {
		who  locktest.Who
		file share.FileID
		kind share.LockKind
		at   uint64
	}
	held := map[place]uint32{}
	for i, s := range all {
		for _, h := range s.Held() {
			for at := h.Lock.Start; at <= min(h.Lock.End, locktest.Bytes-1); at++ {
				p := place{locktest.Who{Session: i, Owner: h.Lock.Owner}, h.File, h.Lock.Kind, at}
				if _, twice := held[p]; twice {
					t.Errorf("%+v is held twice", p)
				}
				held[p] = h.Lock.Type
			}
		}
	}
	n := 0
	for p, typ := range held {
		if want := model.Holds(p.who, p.file, p.kind, p.at); typ != want {
			t.Errorf("%+v is held as %d, want %d", p, typ, want)
		}
		n++
	}
	if want := model.Count(); n != want {
		t.Errorf("%d bytes are held, want %d", n, want)
	}
}

func TestTable_IsAsTheModel(t *testing.T) {
	for seed := range uint64(15) {
		compare(t, rand.New(rand.NewPCG(seed, 1)), 500)
	}
}

// bytesSource makes a fuzzer's bytes change what compare does. What it gives is never
// constant: package rand would ask for ever.
type bytesSource struct {
	b    []byte
	more *rand.PCG
}

func (s *bytesSource) Uint64() uint64 {
	v := s.more.Uint64()
	for i := range min(8, len(s.b)) {
		v ^= uint64(s.b[i]) << (8 * i)
	}
	s.b = s.b[min(len(s.b), 8):]
	return v
}

func FuzzTable(f *testing.F) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 9))
		b := make([]byte, 1200)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		compare(t, rand.New(&bytesSource{b, rand.NewPCG(0, 0)}), min(len(b)/32, 200))
	})
}

func TestSetLock_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := lock.New(lock.Limits{})
		a, b := table.Session("a"), table.Session("b")
		l := share.Lock{Type: posix.F_WRLCK, End: lock.MaxOffset}
		if err := a.SetLock(t.Context(), file, l, true); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var errs [2]error
		go func() { errs[0] = b.SetLock(ctx, file, l, true) }()
		synctest.Wait()
		if err := errs[0]; err != nil || table.Waiting() != 1 {
			t.Fatalf("wait = %v, %d under way", err, table.Waiting())
		}
		cancel()
		synctest.Wait()
		if !errors.Is(errs[0], posix.EINTR) || table.Waiting() != 0 {
			t.Errorf("cancelled wait = %v, %d under way", errs[0], table.Waiting())
		}
		go func() { errs[1] = b.SetLock(t.Context(), file, l, true) }()
		synctest.Wait()
		a.Drop(file, 0, share.LockPOSIX)
		synctest.Wait()
		if errs[1] != nil || len(b.Held()) != 1 || len(a.Held()) != 0 {
			t.Errorf("wait = %v; held %v and %v", errs[1], a.Held(), b.Held())
		}
	})
}

func TestLimits(t *testing.T) {
	table := lock.New(lock.Limits{Ranges: 3, Waits: 1})
	a, b := table.Session("a"), table.Session("b")
	set := func(s *lock.Session, typ uint32, start, end uint64, want posix.Errno) {
		t.Helper()
		err := s.SetLock(t.Context(), file, share.Lock{Type: typ, Start: start, End: end}, false)
		if posix.FromError(err) != want {
			t.Errorf("SetLock(%d, %d-%d) = %v, want %v", typ, start, end, err, want.Name())
		}
	}
	set(a, posix.F_WRLCK, 0, 9, 0)
	set(a, posix.F_WRLCK, 20, 29, 0)
	set(a, posix.F_WRLCK, 40, 49, 0)
	set(a, posix.F_WRLCK, 60, 69, posix.ENOLCK)
	set(a, posix.F_UNLCK, 4, 4, posix.ENOLCK) // it would take one range more
	set(b, posix.F_RDLCK, 4, 4, posix.EAGAIN)
	set(a, posix.F_WRLCK, 10, 19, 0) // merges three to two
	set(a, posix.F_WRLCK, 60, 69, 0)
	set(b, posix.F_WRLCK, 70, 79, 0)

	var got side
	l := share.Lock{Type: posix.F_WRLCK, Start: 0, End: 0}
	cancel := b.Ask(file, l, true, got.done(1))
	b.Ask(file, l, true, got.done(2))
	cancel()
	cancel()
	b.Ask(file, l, true, got.done(3))
	a.Close()
	if want := []string{"2 ENOLCK", "1 EINTR", "3 0"}; !slices.Equal(got.answers, want) {
		t.Errorf("answers = %v, want %v", got.answers, want)
	}
}

// BenchmarkSetLock is one lock and unlock in a file with many ranges of others.
func BenchmarkSetLock(b *testing.B) {
	for _, n := range []int{0, 1000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := lock.New(lock.Limits{})
			a, other := table.Session("a"), table.Session("other")
			for i := range n {
				l := share.Lock{Owner: uint64(i), Type: posix.F_RDLCK, Start: uint64(i), End: uint64(i + 10)}
				if err := other.SetLock(b.Context(), file, l, false); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				for _, typ := range []uint32{posix.F_RDLCK, posix.F_UNLCK} {
					l := share.Lock{Type: typ, Start: 50, End: 500}
					if err := a.SetLock(b.Context(), file, l, false); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
