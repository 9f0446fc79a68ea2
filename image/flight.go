package image

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// flights runs work once for all who want it at the same time. Work goes on while one
// of them waits; when the last has left it is cancelled.
type flights struct {
	mu     sync.Mutex // guards what follows
	flying map[string]*flight
	closed bool

	wg sync.WaitGroup
}

type flight struct {
	done    chan struct{}
	cancel  context.CancelCauseFunc
	err     error // set before done is closed
	waiters int   // guarded by flights.mu
}

var errClosed = fmt.Errorf("image store is closed: %w", errdefs.ErrUnavailable)

// do runs fn under key, or waits for the run that is under way. A caller that joined a
// run which the registry refused tries itself: the other may have had worse
// credentials. Other failures are shared, or each of many callers would wait for its
// own time limit.
func (g *flights) do(ctx context.Context, key string, fn func(context.Context) error) error {
	for {
		joined, err := g.once(ctx, key, fn)
		if !joined || ctx.Err() != nil || !errdefs.IsPermissionDenied(err) && !errdefs.IsNotFound(err) {
			return err
		}
	}
}

func (g *flights) once(ctx context.Context, key string, fn func(context.Context) error) (joined bool, err error) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false, errClosed
	}
	f := g.flying[key]
	joined = f != nil
	if f == nil {
		f = g.launch(ctx, key, fn)
	}
	f.waiters++
	g.mu.Unlock()

	select {
	case <-f.done:
		return joined, f.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	if last {
		f.cancel(context.Cause(ctx))
		if g.flying[key] == f {
			delete(g.flying, key) // who comes now starts anew
		}
	}
	g.mu.Unlock()
	if last {
		<-f.done // so that nothing is written once the caller cleans up
	}
	return joined, context.Cause(ctx)
}

// launch starts the work. g.mu is held.
func (g *flights) launch(ctx context.Context, key string, fn func(context.Context) error) *flight {
	if g.flying == nil {
		g.flying = map[string]*flight{}
	}
	fctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f := &flight{done: make(chan struct{}), cancel: cancel}
	g.flying[key] = f
	g.wg.Go(func() {
		defer cancel(nil)
		err := fn(fctx)
		g.mu.Lock()
		f.err = err
		if g.flying[key] == f {
			delete(g.flying, key)
		}
		g.mu.Unlock()
		close(f.done)
	})
	return f
}

// close cancels all work and waits for its end.
func (g *flights) close() {
	g.mu.Lock()
	g.closed = true
	for _, f := range g.flying {
		f.cancel(errClosed)
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// limit bounds how much of one kind of work runs at a time.
type limit chan struct{}

func (l limit) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l limit) release() { <-l }

// isContextError tells whether err is the end of a context.
func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
