package shim

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

// pod is one pod in the VM, with what teardown has to take back.
type pod struct {
	id    string                 // immutable, as the next
	users *sandbox.UserNamespace // nil: the VM's
	lock  lock                   // held while the pod is made, removed, or given a container; guards begun, ready and inGuest
	// shared: the VM may have other pods, whose NICs are named as this one's.
	shared bool // immutable

	begun   bool // beginPod succeeded
	ready   bool // SetupPod succeeded
	inGuest bool // the guest was asked to make it

	mu      sync.Mutex // guards the rest
	scratch *sandbox.DiskAddress
	disk    sandbox.Disk // at scratch
	mounted bool         // scratch is the disk that the template had mounted
	nics    []string
}

// SetupPod implements sandbox.Shim's.
func (s *Server) SetupPod(ctx context.Context, r sandbox.PodSetup) error {
	if err := checkID("pod", r.PodID); err != nil {
		return err
	}
	p, err := s.begunPod(ctx, r.PodID)
	if err == nil && p == nil {
		p, err = s.newPod(ctx, r)
	}
	if err != nil {
		return err
	}
	defer p.lock.release()
	err = s.makePod(ctx, p, r)
	if err == nil {
		p.ready = true
		return nil
	}
	uctx, cancel := undoContext(ctx)
	defer cancel()
	// What is not undone stays known, so that RemovePod can finish what is left.
	err = undo.Failed(err, s.teardownPod(uctx, p))
	return err
}

// newPod makes a pod known and returns it with its lock held.
func (s *Server) newPod(ctx context.Context, r sandbox.PodSetup) (_ *pod, err error) {
	p := &pod{id: r.PodID, users: r.Namespaces.Users, lock: newLock(), shared: s.shared}
	if err := p.lock.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.lock.release()
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[p.id] != nil {
		return nil, fmt.Errorf("pod %s: %w", p.id, errdefs.ErrAlreadyExists)
	}
	if err := s.checkNew(podName(p.id)); err != nil {
		return nil, err
	}
	s.pods[p.id] = p
	return p, nil
}

func (s *Server) makePod(ctx context.Context, p *pod, r sandbox.PodSetup) error {
	interfaces := make([]guest.Interface, len(r.NICs))
	g, gctx := errgroup.WithContext(ctx)
	// In the guest a pod takes as long as NICs do outside.
	switch {
	case p.begun:
	case s.begins(r):
		// Not cut short when a NIC fails: the guest might make the pod after it was taken back.
		g.Go(func() error { return s.beginPod(ctx, p, r) })
	default:
		g.Go(func() error { return s.attachScratch(gctx, p, r) })
	}
	for i, n := range r.NICs {
		g.Go(func() error {
			nic := n.NIC
			nic.Name = p.nicName(nic.Name)
			actx, end := phase.Begin(gctx, "attach nic")
			info, err := s.vm.AttachNIC(actx, nic)
			end(err)
			if err != nil {
				return fmt.Errorf("attach NIC %s: %w", n.NIC.Name, err)
			}
			interfaces[i] = guestInterface(n, info)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.nics = append(p.nics, nic.Name)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	name := "pod in guest"
	if p.begun {
		name = "network in guest"
	}
	p.inGuest = true
	ctx, end := phase.Begin(ctx, name)
	err := s.guest.CreatePod(ctx, p.inVM(r, interfaces))
	end(err)
	return err
}

func (s *Server) attachScratch(ctx context.Context, p *pod, r sandbox.PodSetup) error {
	ctx, end := phase.Begin(ctx, "attach scratch")
	addr, mounted := s.takeScratch(ctx, r.Scratch)
	var err error
	if !mounted {
		addr, err = s.vm.AttachDisk(ctx, r.Scratch)
	}
	end(err)
	if err != nil {
		return fmt.Errorf("attach scratch disk: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scratch, p.disk, p.mounted = &addr, r.Scratch, mounted
	return nil
}

// takeScratch puts a scratch disk in the place of one that a template has mounted. False: it
// is to be attached and mounted as others are.
func (s *Server) takeScratch(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, bool) {
	t, ok := s.vm.(sandbox.ScratchTaker)
	if !ok {
		return sandbox.DiskAddress{}, false
	}
	addr, err := t.TakeScratch(ctx, d)
	if err != nil && !errdefs.IsNotFound(err) {
		s.log.WarnContext(ctx, "scratch disk that a template has mounted cannot be used, one is attached", logkey.Error, err)
	}
	return addr, err == nil
}

// inVM is the pod as the guest is asked for it. Its scratch disk is attached.
func (p *pod) inVM(r sandbox.PodSetup, interfaces []guest.Interface) guest.Pod {
	return guest.Pod{
		ID:         r.PodID,
		Hostname:   r.Hostname,
		Interfaces: interfaces,
		Scratch:    guest.DiskAddress{Controller: p.scratch.Controller, LUN: p.scratch.LUN},

		ScratchMounted: p.mounted,

		ResolvConf: r.ResolvConf,
		Hosts:      r.Hosts,
		Sysctls:    r.Sysctls,
		ShmBytes:   r.ShmBytes,
		Limits:     r.Limits,
		Namespaces: guestNamespaces(r.Namespaces),
	}
}

// nicName is the VM's name for what the pod calls its NIC.
func (p *pod) nicName(name string) string {
	if p.shared {
		return p.id + "/" + name
	}
	return name
}

func guestInterface(n sandbox.PodNIC, info sandbox.NICInfo) guest.Interface {
	out := guest.Interface{
		Name:      n.NIC.Name,
		BootMAC:   info.MAC,
		MAC:       n.MAC,
		MTU:       uint32(max(n.MTU, 0)),
		Addresses: n.Addresses,
	}
	for _, r := range n.Routes {
		out.Routes = append(out.Routes, guest.Route{
			Destination: r.Destination,
			Gateway:     r.Gateway,
			MTU:         uint32(max(r.MTU, 0)),
			Metric:      uint32(max(r.Metric, 0)),
		})
	}
	return out
}

// RemovePod is the server's side of Client.RemovePod.
func (s *Server) RemovePod(ctx context.Context, podID string) error {
	s.noteGone(podName(podID), func() bool { return s.pods[podID] == nil })
	s.mu.Lock()
	p := s.pods[podID]
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	if err := p.lock.acquire(ctx); err != nil {
		return err
	}
	defer p.lock.release()
	p.ready = false
	g, gctx := errgroup.WithContext(ctx)
	for _, c := range s.containersOf(podID) {
		g.Go(func() error { return s.RemoveContainer(gctx, c.id) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("remove pod %s: %w", podID, err)
	}
	if err := s.teardownPod(ctx, p); err != nil {
		return fmt.Errorf("remove pod %s: %w", podID, err)
	}
	return nil
}

// teardownPod takes back what the pod holds, and forgets what it has taken back, so that
// it can be called again after an error. The pod's lock is held.
func (s *Server) teardownPod(ctx context.Context, p *pod) error {
	p.begun = false // nobody finishes it any more, though it may be left
	if p.inGuest {
		if err := s.guest.RemovePod(ctx, p.id); err != nil {
			return err
		}
		p.inGuest = false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.nics) > 0 {
		last := len(p.nics) - 1
		if err := s.vm.DetachNIC(ctx, p.nics[last]); err != nil {
			return fmt.Errorf("detach NIC %s: %w", p.nics[last], err)
		}
		p.nics = p.nics[:last]
	}
	if p.scratch != nil {
		if err := s.vm.DetachDisk(ctx, *p.scratch); err != nil {
			return fmt.Errorf("detach scratch disk: %w", err)
		}
		p.scratch = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[p.id] == p {
		delete(s.pods, p.id)
	}
	return nil
}

func (s *Server) pod(id string) (*pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pods[id]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("pod %s: %w", id, errdefs.ErrNotFound)
}

// usersOf is the user namespace of a pod; nil: the VM's.
func (s *Server) usersOf(podID string) *sandbox.UserNamespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pods[podID]; p != nil {
		return p.users
	}
	return nil
}

func (s *Server) containersOf(podID string) []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*container
	for _, c := range s.containers {
		if c.podID == podID {
			out = append(out, c)
		}
	}
	return out
}

func checkID(what, id string) error {
	if id == "" || len(id) > 128 {
		return fmt.Errorf("%s id of %d bytes: %w", what, len(id), errdefs.ErrInvalidArgument)
	}
	return nil
}
