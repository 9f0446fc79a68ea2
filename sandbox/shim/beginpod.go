package shim

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

// BeginPod is the server's side of Client.BeginPod.
func (s *Server) BeginPod(ctx context.Context, r sandbox.PodSetup) error {
	if err := checkID("pod", r.PodID); err != nil {
		return err
	}
	if !s.begins(r) {
		return nil
	}
	p, err := s.newPod(ctx, r)
	if err != nil {
		return err
	}
	defer p.lock.release()
	if err = s.beginPod(ctx, p, r); err == nil {
		return nil
	}
	uctx, cancel := undoContext(ctx)
	defer cancel()
	return undo.Failed(err, s.teardownPod(uctx, p))
}

// begins tells whether a pod can be begun before its NICs are there. One with sysctls cannot, nor
// one with other namespaces: NICs that wait in a template's come out of those first.
func (s *Server) begins(r sandbox.PodSetup) bool {
	return !s.shared && len(r.Sysctls) == 0 && r.Namespaces == (sandbox.PodNamespaces{}) && s.guest.BeginsPods()
}

// beginPod makes what of a pod needs no NIC. The pod's lock is held.
func (s *Server) beginPod(ctx context.Context, p *pod, r sandbox.PodSetup) error {
	if err := s.attachScratch(ctx, p, r); err != nil {
		return err
	}
	p.inGuest = true
	ctx, end := phase.Begin(ctx, "pod in guest")
	err := s.guest.BeginPod(ctx, p.inVM(r, nil))
	end(err)
	p.begun = err == nil
	return err
}

// begunPod returns a pod that BeginPod has made known, with its lock held; nil: there is none.
func (s *Server) begunPod(ctx context.Context, id string) (*pod, error) {
	s.mu.Lock()
	p := s.pods[id]
	s.mu.Unlock()
	if p == nil {
		return nil, nil
	}
	if err := p.lock.acquire(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	known := s.pods[id] == p
	s.mu.Unlock()
	switch {
	case !known: // removed meanwhile
		p.lock.release()
		return nil, nil
	case p.ready || !p.begun:
		p.lock.release()
		return nil, fmt.Errorf("pod %s: %w", id, errdefs.ErrAlreadyExists)
	}
	return p, nil
}
