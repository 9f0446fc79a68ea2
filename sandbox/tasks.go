package sandbox

import (
	"context"
	"sync"
)

// tasks owns the manager's background goroutines: it ends them and waits for them.
// The zero value is ready for use; methods are safe for concurrent use.
type tasks struct {
	wg sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	closed  bool
	next    int
	cancels map[int]context.CancelFunc
}

// start runs f in a goroutine. The context f gets carries ctx's values, outlives ctx,
// and ends with close. After close start does nothing.
func (t *tasks) start(ctx context.Context, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		cancel()
		return
	}
	if t.cancels == nil {
		t.cancels = make(map[int]context.CancelFunc)
	}
	id := t.next
	t.next++
	t.cancels[id] = cancel
	t.wg.Go(func() {
		defer func() {
			cancel()
			t.mu.Lock()
			delete(t.cancels, id)
			t.mu.Unlock()
		}()
		f(ctx)
	})
}

// close ends all goroutines and waits for them. It may be called again.
func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	for _, cancel := range t.cancels {
		cancel()
	}
	t.mu.Unlock()
	t.wg.Wait()
}
