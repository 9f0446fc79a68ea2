package sandbox

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// gateWidth is how many operations may share a gate: more than can ever be at work.
const gateWidth = 1 << 30

// gate orders the operations on one object. Some share it (making containers in a
// pod), some want it alone (stopping the pod). It is not held by anything that only
// reads, so that lists and status calls never wait for a slow step.
type gate struct {
	sem *semaphore.Weighted

	mu       sync.Mutex // guards the fields below
	next     int
	shared   map[int]context.CancelCauseFunc
	evicting int   // how many wait in evict
	cause    error // of the latest evict
}

func newGate() *gate {
	return &gate{sem: semaphore.NewWeighted(gateWidth), shared: make(map[int]context.CancelCauseFunc)}
}

// share waits until nobody has the gate alone. The returned context ends when ctx
// ends or when evict is called; leave must be called.
func (g *gate) share(ctx context.Context) (_ context.Context, leave func(), err error) {
	if err := g.sem.Acquire(ctx, 1); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	g.mu.Lock()
	id := g.next
	g.next++
	g.shared[id] = cancel
	if g.evicting > 0 {
		cancel(g.cause)
	}
	g.mu.Unlock()
	return ctx, func() {
		g.mu.Lock()
		delete(g.shared, id)
		g.mu.Unlock()
		cancel(nil)
		g.sem.Release(1)
	}, nil
}

// alone waits until nobody else is in the gate; leave must be called.
func (g *gate) alone(ctx context.Context) (leave func(), err error) {
	if err := g.sem.Acquire(ctx, gateWidth); err != nil {
		return nil, err
	}
	return func() { g.sem.Release(gateWidth) }, nil
}

// evict is alone, but first ends the contexts of those who share the gate.
func (g *gate) evict(ctx context.Context, cause error) (leave func(), err error) {
	g.mu.Lock()
	g.evicting++
	g.cause = cause
	for _, cancel := range g.shared {
		cancel(cause)
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.evicting--
		g.mu.Unlock()
	}()
	return g.alone(ctx)
}
