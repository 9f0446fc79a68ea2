package template

import (
	"context"
	"time"

	"github.com/porthole-run/porthole/internal/phase"
)

// How long a VM waits for a template from when that began to be made: three times what the
// last one took, within these. Making one takes a boot and some tenths of a second, and a
// VM that boots beside it makes both slower.
const (
	leastPatience = 5 * time.Second
	mostPatience  = 20 * time.Second
)

// Await is Take, but waits for a template that is being made, or comes next, when that
// is likely to be quicker than a boot: for a while, until it was made or could not be, or
// ctx ends. One that could not be made the last time is not waited for.
func (k *Keeper) Await(ctx context.Context, s Size) *Lease {
	ctx, cancel := context.WithTimeout(ctx, mostPatience)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		l := k.take(s)
		if l != nil {
			return l
		}
		settled, patience := k.coming(s)
		if settled == nil {
			break
		}
		k.mu.Unlock()
		// Named in what a pod's start took: it may be most of it.
		_, end := phase.Begin(ctx, "await template")
		ok := waitFor(ctx, settled, patience)
		end(nil)
		k.mu.Lock()
		if !ok {
			break
		}
	}
	k.counts.Boots++
	return nil
}

func waitFor(ctx context.Context, settled <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-settled:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// coming tells what to wait on for a template of size s, and for how long; nil: none that
// is worth it. k.mu is held.
func (k *Keeper) coming(s Size) (<-chan struct{}, time.Duration) {
	if k.closed || !k.started {
		return nil, 0
	}
	now := k.config.Now()
	patience := min(max(3*k.took, leastPatience), mostPatience)
	if k.took == 0 {
		patience = mostPatience
	}
	if k.making != (Class{}) {
		patience -= now.Sub(k.begun)
	}
	for c, is := range k.classes {
		if s.holds(c) && is.built == nil && is.failures == 0 && is.err == nil && patience > 0 &&
			(k.making == c || k.making == (Class{})) {
			if is.settled == nil {
				is.settled = make(chan struct{})
			}
			return is.settled, patience
		}
	}
	return nil, 0
}

// settle lets those go on who wait for the class.
func (c *class) settle() {
	if c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
}
