package shim

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/filesum"
	"github.com/porthole-run/porthole/sandbox"
)

// restoring is a restored VM's pod until RestorePod.
type restoring struct {
	saved sandbox.SavedPod // immutable
	begun atomic.Bool
}

func newRestoring(r *sandbox.ShimRestore) *restoring {
	if r == nil {
		return nil
	}
	return &restoring{saved: r.Saved}
}

// restoreVM makes a VM of what was saved and returns when its agent answers and has
// randomness of its own. Its containers stand still. On error nothing is left.
func restoreVM(ctx context.Context, cfg ServerConfig) (running, error) {
	restorer, ok := cfg.Driver.(sandbox.Restorer)
	if !ok {
		return running{}, fmt.Errorf("restore VM: the driver cannot: %w", errdefs.ErrNotImplemented)
	}
	if err := checkLayers(cfg.Restore.Saved); err != nil {
		return running{}, fmt.Errorf("restore VM: %w", err)
	}
	vm, err := restorer.Restore(ctx, cfg.VM, cfg.Restore.Saved.VM, cfg.Restore.State)
	if err != nil {
		return running{}, fmt.Errorf("restore VM: %w", err)
	}
	client, err := goOn(ctx, vm, cfg.Version)
	if err != nil {
		return running{}, err
	}
	client.SkipIDs(cfg.Restore.Saved.LastID)
	return running{vm: vm, guest: client}, nil
}

// checkLayers refuses disks that are not byte for byte those that the guest has mounted.
func checkLayers(p sandbox.SavedPod) error {
	for _, l := range p.Layers {
		i := slices.IndexFunc(p.VM.Disks, func(d sandbox.SavedDisk) bool { return d.Address == l.Address })
		if i < 0 {
			return fmt.Errorf("layer %s has no disk: %w", l.DiffID, errdefs.ErrInvalidArgument)
		}
		sum, err := filesum.SHA256(p.VM.Disks[i].Disk.Path)
		if err != nil {
			return fmt.Errorf("sum layer %s: %w", l.DiffID, err)
		}
		if sum != l.SHA256 {
			return fmt.Errorf("the disk of layer %s has digest %.12s on this node, that of the checkpoint's %.12s: %w",
				l.DiffID, sum, l.SHA256, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// RestorePod implements sandbox.Checkpointer's.
func (s *Server) RestorePod(ctx context.Context, r sandbox.PodRestore) error {
	if err := s.restorePod(ctx, r); err != nil {
		return fmt.Errorf("restore pod %s: %w", r.Setup.PodID, err)
	}
	return nil
}

func (s *Server) restorePod(ctx context.Context, r sandbox.PodRestore) error {
	if s.restored == nil {
		return fmt.Errorf("the VM was not restored: %w", errdefs.ErrFailedPrecondition)
	}
	if s.restored.begun.Swap(true) {
		return fmt.Errorf("it was tried before: %w", errdefs.ErrFailedPrecondition)
	}
	saved := s.restored.saved
	aliases, err := aliasesOf(saved, r)
	if err != nil {
		return err
	}
	s.guest.SetAliases(aliases)
	addr := saved.Scratch
	p := &pod{id: r.Setup.PodID, lock: newLock(), inGuest: true, scratch: &addr, disk: r.Setup.Scratch}
	if err := p.lock.acquire(ctx); err != nil {
		return err
	}
	defer p.lock.release()
	s.mu.Lock()
	s.pods[p.id] = p
	s.mu.Unlock()
	for _, sh := range r.Shares {
		if err := s.shares.restore(ctx, saved, sh); err != nil {
			return err
		}
	}
	interfaces, err := s.attachNICs(ctx, p, r.Setup.NICs)
	if err != nil {
		return err
	}
	renewal := guest.Renewal{Pod: guest.Pod{
		ID: p.id, Hostname: r.Setup.Hostname, Interfaces: interfaces, ResolvConf: r.Setup.ResolvConf, Hosts: r.Setup.Hosts,
	}}
	var all []*container
	for _, rc := range r.Containers {
		c, err := s.restoreContainer(ctx, p, saved, rc)
		if err != nil {
			return fmt.Errorf("container %s: %w", rc.ID, err)
		}
		all = append(all, c)
		renewal.Containers = append(renewal.Containers, guest.RenewedContainer{ID: c.id, Stdio: c.streams.IDs})
	}
	if err := s.guest.Renew(ctx, renewal); err != nil {
		return err
	}
	for _, c := range all {
		s.startIO(ctx, c)
	}
	p.ready = true
	return nil
}

// aliasesOf are the ids by which the guest knows what is restored.
func aliasesOf(saved sandbox.SavedPod, r sandbox.PodRestore) (map[string]string, error) {
	if err := checkID("pod", r.Setup.PodID); err != nil {
		return nil, err
	}
	out := map[string]string{r.Setup.PodID: saved.PodID}
	for _, rc := range r.Containers {
		if err := checkID("container", rc.ID); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(saved.Containers, func(c sandbox.SavedContainer) bool { return c.ID == rc.SavedID })
		if i < 0 {
			return nil, fmt.Errorf("container %s: %w", rc.SavedID, errdefs.ErrNotFound)
		}
		out[rc.ID] = saved.Containers[i].GuestID
	}
	if len(r.Containers) != len(saved.Containers) || len(out) != len(r.Containers)+1 {
		return nil, fmt.Errorf("%d containers of the %d that were saved: %w", len(r.Containers), len(saved.Containers), errdefs.ErrInvalidArgument)
	}
	return out, nil
}

func (s *Server) attachNICs(ctx context.Context, p *pod, nics []sandbox.PodNIC) ([]guest.Interface, error) {
	var out []guest.Interface
	for _, n := range nics {
		info, err := s.vm.AttachNIC(ctx, n.NIC)
		if err != nil {
			return nil, fmt.Errorf("attach NIC %s: %w", n.NIC.Name, err)
		}
		out = append(out, guestInterface(n, info))
		p.mu.Lock()
		p.nics = append(p.nics, n.NIC.Name)
		p.mu.Unlock()
	}
	return out, nil
}

// restoreContainer makes a container known, with what it holds and with new streams.
func (s *Server) restoreContainer(ctx context.Context, p *pod, saved sandbox.SavedPod, r sandbox.ContainerRestore) (*container, error) {
	i := slices.IndexFunc(saved.Containers, func(c sandbox.SavedContainer) bool { return c.ID == r.SavedID })
	was := saved.Containers[i]
	c := &container{
		id: r.ID, podID: p.id, stdinOnce: r.StdinOnce, terminal: was.Terminal,
		lock: newLock(), exited: make(chan struct{}), gone: make(chan struct{}),
		inGuest: true, made: true, layers: r.Layers, mounts: was.Mounts,
	}
	if len(r.Mounts) != len(was.Mounts) {
		return nil, fmt.Errorf("%d mounts, saved were %d: %w", len(r.Mounts), len(was.Mounts), errdefs.ErrInvalidArgument)
	}
	if err := s.layers.restore(saved, r.Layers); err != nil {
		return nil, err
	}
	for i, m := range r.Mounts {
		switch {
		case m.Image != nil:
			if err := s.layers.restore(saved, m.Image.Layers); err != nil {
				return nil, err
			}
			c.held.layers = append(c.held.layers, m.Image.Layers...)
		case m.Folder != nil:
			h := s.shares.use(was.Mounts[i].Share)
			if h == nil {
				return nil, fmt.Errorf("mount %s: share %d: %w", m.ContainerPath, was.Mounts[i].Share, errdefs.ErrNotFound)
			}
			c.held.shares = append(c.held.shares, h)
		default:
			return nil, fmt.Errorf("mount %s: it has no source that is kept: %w", m.ContainerPath, errdefs.ErrInvalidArgument)
		}
	}
	var err error
	c.streams, err = s.guest.OpenStreams(ctx, guest.StreamsConfig{
		Stdin: was.Stdin, Stdout: true, Stderr: true, Terminal: was.Terminal,
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.containers[c.id] = c
	s.mu.Unlock()
	if r.LogPath != "" && s.openLog != nil {
		log, err := s.openLog(r.LogDir, r.LogPath, was.Terminal)
		if err != nil {
			return nil, err
		}
		c.log = log
	}
	return c, nil
}

// restore notes that a container has layers whose disks the restored VM came with.
func (s *layerSet) restore(saved sandbox.SavedPod, layers []sandbox.Layer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range layers {
		i := slices.IndexFunc(saved.Layers, func(l sandbox.SavedLayer) bool { return l.DiffID == w.DiffID })
		if i < 0 {
			return fmt.Errorf("layer %s is not in the saved VM: %w", w.DiffID, errdefs.ErrInvalidArgument)
		}
		l := s.layers[w.DiffID]
		if l == nil {
			l = &layer{lock: newLock(), attached: true, addr: saved.Layers[i].Address, path: w.Path, mounted: true}
			s.layers[w.DiffID] = l
		}
		l.users++
	}
	return nil
}
