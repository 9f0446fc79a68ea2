package shim

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/sandbox"
)

// disker is the part of a VM that layers need.
type disker interface {
	AttachDisk(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, error)
	DetachDisk(ctx context.Context, a sandbox.DiskAddress) error
}

// layerSet is the layer disks of one VM. A disk is attached once however many
// containers use it, and detached when the last one has gone.
type layerSet struct {
	vm disker // immutable after newLayerSet

	mu     sync.Mutex // guards layers and each layer's users
	layers map[string]*layer
}

type layer struct {
	users int // containers, and calls that look at it; guarded by layerSet.mu

	// mounted: the guest uses the disk, whatever users says, until it tells otherwise.
	mounted bool // guarded by layerSet.mu

	lock     lock // held while the disk comes or goes; guards the rest
	attached bool
	addr     sandbox.DiskAddress
	path     string // of the disk
}

func newLayerSet(vm disker) *layerSet {
	return &layerSet{vm: vm, layers: map[string]*layer{}}
}

// acquire attaches the layers that are missing, side by side, and returns all of them in
// order. On error none is acquired.
func (s *layerSet) acquire(ctx context.Context, want []sandbox.Layer) ([]guest.Layer, error) {
	out := make([]guest.Layer, len(want))
	g, gctx := errgroup.WithContext(ctx)
	for i, w := range want {
		l := s.pin(w.DiffID)
		g.Go(func() error {
			addr, err := s.attach(gctx, l, w)
			out[i] = guest.Layer{ID: w.DiffID, Disk: guest.DiskAddress{Controller: addr.Controller, LUN: addr.LUN}}
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		return out, nil
	}
	uctx, cancel := undoContext(ctx)
	defer cancel()
	return nil, errors.Join(err, s.release(uctx, want))
}

// setMounted notes that the guest has mounted the layers.
func (s *layerSet) setMounted(layers []sandbox.Layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		if l := s.layers[l.DiffID]; l != nil {
			l.mounted = true
		}
	}
}

// setUnmounted notes that the guest has unmounted the layers with these ids. Ids that
// are not known are the guest's invention, and passed over.
func (s *layerSet) setUnmounted(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if l := s.layers[id]; l != nil {
			l.mounted = false
		}
	}
}

func (s *layerSet) pin(id string) *layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.layers[id]
	if l == nil {
		l = &layer{lock: newLock()}
		s.layers[id] = l
	}
	l.users++
	return l
}

func (s *layerSet) attach(ctx context.Context, l *layer, w sandbox.Layer) (sandbox.DiskAddress, error) {
	if err := l.lock.acquire(ctx); err != nil {
		return sandbox.DiskAddress{}, err
	}
	defer l.lock.release()
	if l.attached {
		return l.addr, nil
	}
	addr, err := s.vm.AttachDisk(ctx, sandbox.Disk{Path: w.Path, Format: sandbox.DiskVHD, ReadOnly: true})
	if err != nil {
		return addr, fmt.Errorf("attach layer %s: %w", w.DiffID, err)
	}
	l.attached, l.addr, l.path = true, addr, w.Path
	return addr, nil
}

// release gives back what acquire took, side by side: once for each acquire. A disk that the
// guest still has mounted, or that cannot be detached, stays and serves the next container
// that wants it.
func (s *layerSet) release(ctx context.Context, had []sandbox.Layer) error {
	var g errgroup.Group // no failure keeps the others from being given back
	for _, h := range had {
		g.Go(func() error {
			if err := s.drop(ctx, h.DiffID); err != nil {
				return fmt.Errorf("detach layer %s: %w", h.DiffID, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *layerSet) drop(ctx context.Context, id string) error {
	s.mu.Lock()
	l := s.layers[id]
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	err := l.lock.acquire(ctx)
	if err == nil {
		defer l.lock.release()
	}
	s.mu.Lock()
	l.users--
	last := l.users == 0 && !l.mounted
	s.mu.Unlock()
	if err != nil || !last {
		return err
	}
	// Someone may pin the layer from here on; the lock makes them wait for the disk to be gone.
	if l.attached {
		if err := s.vm.DetachDisk(ctx, l.addr); err != nil {
			return err
		}
		l.attached = false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.users == 0 && s.layers[id] == l {
		delete(s.layers, id)
	}
	return nil
}
