package shim

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/usage"
)

// asked is one question for figures that the guest has not answered yet, however many
// wait for the answer: a guest that hangs is asked once, not every ten seconds anew.
type asked struct {
	done chan struct{}
	vm   usage.VM
	err  error
}

// Stats implements sandbox.Shim's.
func (s *Server) Stats(ctx context.Context, openFiles bool) (usage.VM, error) {
	s.mu.Lock()
	a := s.asked[openFiles]
	if a == nil {
		a = &asked{done: make(chan struct{})}
		s.asked[openFiles] = a
		s.calls.Add(1) // within a call that is counted: Close waits for this one too
		go func() {    // ends with the connection to the guest at the latest
			defer s.calls.Done()
			a.vm, a.err = s.askStats(context.WithoutCancel(ctx), openFiles)
			s.mu.Lock()
			delete(s.asked, openFiles)
			s.mu.Unlock()
			close(a.done)
		}()
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.vm, a.err
	case <-ctx.Done():
		return usage.VM{}, fmt.Errorf("the guest has not told its figures: %w", ctx.Err())
	}
}

// askStats gives the guest's figures the host's time, and checks them against what the
// VM has. package guest has checked the rest.
func (s *Server) askStats(ctx context.Context, openFiles bool) (usage.VM, error) {
	begin := time.Now()
	vm, err := s.guest.Stats(ctx, openFiles)
	if err != nil {
		return usage.VM{}, err
	}
	end := time.Now()
	limits := vmLimits{
		// Twice what can be: the guest's clock is not ours.
		cpu:    2 * time.Duration(max(s.vcpus, 1)) * (end.Sub(s.begun) + time.Minute),
		memory: uint64(s.memoryMiB) << 20,
		first:  begin, last: end,
	}
	for id, p := range vm.Pods {
		if err := limits.check(p.Group); err != nil {
			return usage.VM{}, fmt.Errorf("figures of pod %s: %w", id, err)
		}
	}
	for id, c := range vm.Containers {
		if err := limits.check(c.Group); err != nil {
			return usage.VM{}, fmt.Errorf("figures of container %s: %w", id, err)
		}
		if c.Writable != nil {
			c.Writable.At = limits.time(c.Writable.At)
		}
	}
	return vm, nil
}

// vmLimits are what no figures of a VM exceed.
type vmLimits struct {
	cpu         time.Duration
	memory      uint64    // bytes; 0: not known
	first, last time.Time // between which the figures were read
}

// time is t moved to when it can have been.
func (l vmLimits) time(t time.Time) time.Time {
	switch {
	case t.Before(l.first):
		return l.first
	case t.After(l.last):
		return l.last
	}
	return t
}

func (l vmLimits) check(g *usage.Group) error {
	if g == nil {
		return nil
	}
	g.At = l.time(g.At)
	if c := g.CPU; c != nil && c.Usage > l.cpu {
		return fmt.Errorf("%s of CPU time, more than the VM can have had: %w", c.Usage, errdefs.ErrDataLoss)
	}
	if m := g.Memory; m != nil && l.memory > 0 && m.Usage > l.memory {
		return fmt.Errorf("%d bytes of memory in use, more than the VM has: %w", m.Usage, errdefs.ErrDataLoss)
	}
	return nil
}
