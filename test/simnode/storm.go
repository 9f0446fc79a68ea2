package simnode

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// Injected is in the text of each error that a Storm makes up.
const Injected = "injected fault"

// Kind is a way for a call to go wrong.
type Kind int

// A call is refused before it has done anything, or its answer is lost when it is done,
// or nobody answers it until its caller gives up, or it is only slow.
const (
	Fine Kind = iota
	Refuse
	LoseAnswer
	Hang
	Slow
)

// Storm makes calls to the host go wrong at random. Its methods are safe for concurrent
// use. The zero value is calm.
type Storm struct {
	mu    sync.Mutex // guards the rest
	rand  *rand.Rand
	odds  map[string]float64 // of each call that goes wrong, by its name; "" is all others
	kinds []Kind
	blown map[string]int // how many went wrong, by the call's name
}

// NewStorm returns one whose faults are of the given kinds, and follow from the seed and
// the order of the calls.
func NewStorm(seed uint64, kinds ...Kind) *Storm {
	return &Storm{rand: rand.New(rand.NewPCG(seed, 1)), kinds: kinds, blown: map[string]int{}}
}

// Blow lets calls go wrong with the given odds, by the call's name; "" stands for those
// that are not named. Nil: the storm is over.
func (s *Storm) Blow(odds map[string]float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odds = odds
}

// Blown tells how many calls went wrong so far, by name.
func (s *Storm) Blown() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for name, n := range s.blown {
		out[name] = n
	}
	return out
}

// draw says what becomes of a call.
func (s *Storm) draw(call string) Kind {
	if s == nil {
		return Fine
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	odds, ok := s.odds[call]
	if !ok {
		odds = s.odds[""]
	}
	if len(s.kinds) == 0 || odds == 0 || s.rand.Float64() >= odds {
		return Fine
	}
	s.blown[call]++
	kind := s.kinds[s.rand.IntN(len(s.kinds))]
	if kind == LoseAnswer && (call == "Launch" || call == "ScratchCreate") {
		return Refuse // these leave nothing when they fail, so who loses their answer undoes them
	}
	return kind
}

// fault is the error of a call that goes wrong.
func fault(call string) error {
	switch {
	case strings.HasPrefix(call, "Scratch"):
		return fmt.Errorf("%s: %s: %w: %w", call, Injected, syscall.ENOSPC, errdefs.ErrResourceExhausted)
	case strings.HasSuffix(call, "tach"): // attach, detach
		return fmt.Errorf("%s: %s: a plugin ended with status 1: %w", call, Injected, errdefs.ErrInternal)
	}
	return fmt.Errorf("%s: %s: %w", call, Injected, errdefs.ErrUnavailable)
}

// life is that of one daemon: what it asks of the host passes through here, and stops
// when it is dead.
type life struct {
	storm  *Storm
	buried chan struct{} // closed when the dead may be told so

	// mu is held for reading over each call that has an effect, which never is a long one.
	mu   sync.RWMutex
	dead bool
}

func newLife(s *Storm) *life { return &life{storm: s, buried: make(chan struct{})} }

// errDead is what a dead daemon is told. Nobody hears of it: its callers are gone.
var errDead = errors.New("the daemon is dead")

// end lets no call have an effect from now on. Those that come wait until bury is called.
func (l *life) end() (bury func()) {
	l.mu.Lock()
	l.dead = true
	l.mu.Unlock()
	return func() { close(l.buried) }
}

// ended tells whether the daemon is dead.
func (l *life) ended() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dead
}

// do makes a call to the host, or what the storm makes of it. A Hang and a Slow are over
// before the call has its effect.
func (l *life) do(ctx context.Context, call string, effect func(context.Context) error) error {
	kind := l.storm.draw(call)
	switch kind {
	case Refuse:
		return fault(call)
	case Hang:
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w", call, Injected, ctx.Err())
		case <-l.buried: // nobody is to wait for what hangs the dead
			return errDead
		}
	case Slow:
		pause(ctx, 20*time.Millisecond)
	}
	l.mu.RLock()
	if l.dead {
		l.mu.RUnlock()
		<-l.buried
		return errDead
	}
	err := effect(ctx)
	l.mu.RUnlock()
	if err == nil && kind == LoseAnswer {
		return fault(call)
	}
	return err
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
