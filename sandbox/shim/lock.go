package shim

import "context"

// lock is a mutex whose waiters give up with their contexts. It orders the calls that
// concern one pod, container or layer, which wait for the guest or the hypervisor.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l lock) release() { <-l }

// undoContext is for taking back what a failed call did: the end of ctx does not stop
// that, a time limit of its own does.
func undoContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
}
