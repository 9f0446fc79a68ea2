package image

import (
	"context"
	"sync"
)

// gate lets calls in until it is closed, and knows when the last one has left.
type gate struct {
	mu     sync.Mutex // guards what follows
	inside map[uint64]context.CancelCauseFunc
	last   uint64 // the number of the last call
	closed bool

	wg sync.WaitGroup
}

// enter lets a call in, whose context ends with errClosed when the gate is closed. It
// calls leave at its end. errClosed when the gate is closed.
func (g *gate) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, errClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if g.inside == nil {
		g.inside = map[uint64]context.CancelCauseFunc{}
	}
	g.last++
	n := g.last
	g.inside[n] = cancel
	g.wg.Add(1)
	return ctx, func() {
		cancel(nil)
		g.mu.Lock()
		delete(g.inside, n)
		g.mu.Unlock()
		g.wg.Done()
	}, nil
}

// close lets no more calls in and ends those that are. Who closes it calls wait.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, cancel := range g.inside {
		cancel(errClosed)
	}
}

// wait returns once the last call has left a gate that is closed.
func (g *gate) wait() { g.wg.Wait() }
