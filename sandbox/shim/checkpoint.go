package shim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/filesum"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

// Waits for what frozen containers have written to come to their logs: until none came for
// a while, and at most.
const (
	saveQuiet = 50 * time.Millisecond
	saveDrain = 5 * time.Second
)

// Checkpoint implements sandbox.Checkpointer's.
func (s *Server) Checkpoint(ctx context.Context, r sandbox.CheckpointSetup) (saved sandbox.SavedPod, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save pod %s: %w", r.PodID, err)
		}
	}()
	saver, ok := s.vm.(sandbox.Saver)
	if !ok {
		return saved, fmt.Errorf("the VM driver cannot: %w", errdefs.ErrNotImplemented)
	}
	if s.shared {
		return saved, fmt.Errorf("its VM is one that pods share, and a VM is saved whole: %w", errdefs.ErrFailedPrecondition)
	}
	p, err := s.pod(r.PodID)
	if err != nil {
		return saved, err
	}
	if err := p.lock.acquire(ctx); err != nil { // no container is added
		return saved, err
	}
	defer p.lock.release()
	if !p.ready {
		return saved, fmt.Errorf("it is not set up: %w", errdefs.ErrFailedPrecondition)
	}
	running, unlock, err := s.lockRunning(ctx, r)
	if err != nil {
		return saved, err
	}
	defer unlock()
	if saved, err = s.describe(p, running); err != nil {
		return saved, err
	}
	return saved, s.savePod(ctx, saver, p, running, r.Dir, &saved)
}

// lockRunning takes what has exited out of the guest, and returns the others with their
// locks held: those, and no more, are to be saved.
func (s *Server) lockRunning(ctx context.Context, r sandbox.CheckpointSetup) (running []*container, unlock func(), err error) {
	var locked []*container
	release := func() {
		for _, c := range locked {
			c.lock.release()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	all := s.containersOf(r.PodID)
	slices.SortFunc(all, func(a, b *container) int { return cmp.Compare(a.id, b.id) })
	for _, c := range all {
		if err := c.lock.acquire(ctx); err != nil {
			return nil, nil, err
		}
		locked = append(locked, c)
		if now, err := s.container(c.id); err != nil || now != c {
			continue // removed meanwhile
		}
		c.mu.Lock()
		started, exited := c.started, c.exit != nil
		c.mu.Unlock()
		wanted := slices.Contains(r.ContainerIDs, c.id)
		switch {
		case exited && !wanted:
			if err := s.emptyContainer(ctx, c); err != nil {
				return nil, nil, fmt.Errorf("take container %s, which has exited, out of the VM: %w", c.id, err)
			}
			continue
		case exited:
			return nil, nil, fmt.Errorf("container %s has exited: %w", c.id, errdefs.ErrFailedPrecondition)
		case !started:
			return nil, nil, fmt.Errorf("container %s is created and not started: %w", c.id, errdefs.ErrFailedPrecondition)
		case !wanted:
			return nil, nil, fmt.Errorf("container %s runs and is not to be saved, but a VM is saved whole: %w", c.id, errdefs.ErrFailedPrecondition)
		}
		running = append(running, c)
	}
	for _, id := range r.ContainerIDs {
		if !slices.ContainsFunc(running, func(c *container) bool { return c.id == id }) {
			return nil, nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
		}
	}
	return running, release, nil
}

// describe tells of the pod what does not change while it is saved, and refuses what cannot
// be kept.
func (s *Server) describe(p *pod, running []*container) (out sandbox.SavedPod, err error) {
	out = sandbox.SavedPod{
		VCPUs: s.vcpus, MemoryMiB: s.memoryMiB, PodID: s.guest.Inside(p.id), LastID: s.guest.LastID(),
	}
	if out.Kernel, out.Initrd, err = s.bundle.sums(); err != nil {
		return out, err
	}
	p.mu.Lock()
	out.Scratch, out.NICs = *p.scratch, slices.Clone(p.nics)
	p.mu.Unlock()
	if out.Layers, err = s.layers.saved(); err != nil {
		return out, err
	}
	for _, c := range running {
		if len(c.held.volumes) > 0 {
			return out, fmt.Errorf("container %s has a disk volume, which others may get meanwhile: %w", c.id, errdefs.ErrNotImplemented)
		}
		sc := sandbox.SavedContainer{
			ID: c.id, GuestID: s.guest.Inside(c.id), Stdin: c.streams.Stdin != nil, Terminal: c.terminal, Mounts: c.mounts,
		}
		for _, l := range c.layers {
			sc.Layers = append(sc.Layers, l.DiffID)
		}
		out.Containers = append(out.Containers, sc)
	}
	return out, nil
}

// savePod freezes the containers, saves, and lets them go on.
func (s *Server) savePod(ctx context.Context, saver sandbox.Saver, p *pod, running []*container, dir string, saved *sandbox.SavedPod) (err error) {
	var u undo.Stack // of what must not be left after an error
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTimeout))
		}
	}()
	if err := s.guest.Freeze(ctx, p.id); err != nil {
		return errors.Join(err, s.thaw(ctx, p))
	}
	defer func() { err = errors.Join(err, s.thaw(ctx, p)) }()
	s.settleOutput(ctx, running)
	for try := 1; ; try++ {
		err := s.saveFrozen(ctx, saver, p, dir, saved, &u)
		if !errors.Is(err, errShareBusy) || try == saveTries {
			return err
		}
		if err := u.Run(ctx, undoTimeout); err != nil {
			return err
		}
		u = undo.Stack{}
	}
}

// saveTries is how often a pod is saved whose shares are used at the very moment, which is
// the guest's kernel's doing, or the host's.
const saveTries = 5

// saveFrozen saves a pod whose containers are frozen, and pushes onto u what takes it back.
func (s *Server) saveFrozen(ctx context.Context, saver sandbox.Saver, p *pod, dir string, saved *sandbox.SavedPod, u *undo.Stack) error {
	shares, err := s.shares.save(ctx, dir, u)
	if err != nil {
		return err
	}
	saved.Shares = shares.told
	scratch := filepath.Join(dir, sandbox.ScratchFile)
	u.Push("remove saved disk", func(context.Context) error { return removeFile(scratch) })
	begin := time.Now()
	state := filepath.Join(dir, sandbox.StateFile)
	saved.VM, err = saver.SaveTo(ctx, state, func(ctx context.Context) error {
		if err := shares.check(); err != nil {
			return err
		}
		d, err := p.scratchDisk()
		if err != nil {
			return err
		}
		return packDisk(ctx, scratch, d)
	})
	if err != nil {
		return err
	}
	u.Push("remove saved state", func(context.Context) error { return removeFile(state) })
	s.log.InfoContext(ctx, "vm stood still to be saved", logkey.PodID, p.id, logkey.Duration, time.Since(begin))
	return checkDisks(*saved)
}

// thaw lets the pod's containers go on, by a clock that is right: that of a VM which stood
// still is late. It is done whatever became of ctx.
func (s *Server) thaw(ctx context.Context, p *pod) error {
	ctx, cancel := undoContext(ctx)
	defer cancel()
	if err := s.guest.SetClock(ctx); err != nil {
		s.log.WarnContext(ctx, "guest's clock was not set", logkey.Error, err)
	}
	err := s.guest.Thaw(ctx, p.id)
	if err == nil {
		return nil
	}
	// A pod that stays frozen does not work, and must not look as if it did.
	err = fmt.Errorf("let the containers go on: %w", err)
	s.shareBroken(err)
	return err
}

// settleOutput waits until what the frozen containers wrote has come to their logs: of a pod
// that is restored, what was on its way is lost.
func (s *Server) settleOutput(ctx context.Context, running []*container) {
	for _, c := range running {
		for _, o := range c.outputs() {
			o.settle(ctx, saveQuiet, saveDrain)
		}
	}
}

// scratchDisk is the pod's disk on the host.
func (p *pod) scratchDisk() (sandbox.Disk, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scratch == nil {
		return sandbox.Disk{}, fmt.Errorf("it has no scratch disk: %w", errdefs.ErrFailedPrecondition)
	}
	return p.disk, nil
}

// packDisk copies a disk that nobody writes.
func packDisk(ctx context.Context, path string, d sandbox.Disk) (err error) {
	src, err := os.Open(d.Path)
	if err != nil {
		return fmt.Errorf("copy scratch disk: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy scratch disk: %w", err)
	}
	if err := errors.Join(sparsefile.Pack(ctx, dst, src), dst.Close()); err != nil {
		return fmt.Errorf("copy scratch disk: %w", err)
	}
	return nil
}

// checkDisks refuses a VM that has disks which nobody would know to attach again.
func checkDisks(p sandbox.SavedPod) error {
	known := map[sandbox.DiskAddress]bool{p.Scratch: true}
	for _, l := range p.Layers {
		known[l.Address] = true
	}
	for _, d := range p.VM.Disks {
		if !known[d.Address] {
			return fmt.Errorf("the VM has disk %s, which no container uses: %w", d.Disk.Path, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// saved lists the layers that are attached.
func (s *layerSet) saved() ([]sandbox.SavedLayer, error) {
	s.mu.Lock()
	all := make(map[string]*layer, len(s.layers))
	for id, l := range s.layers {
		all[id] = l
	}
	s.mu.Unlock()
	var out []sandbox.SavedLayer
	for id, l := range all {
		// Nobody attaches one: the pod's lock is held, and its containers'.
		if !l.attached {
			continue
		}
		sum, err := filesum.SHA256(l.path)
		if err != nil {
			return nil, fmt.Errorf("sum layer %s: %w", id, err)
		}
		out = append(out, sandbox.SavedLayer{DiffID: id, Address: l.addr, SHA256: sum})
	}
	slices.SortFunc(out, func(a, b sandbox.SavedLayer) int { return cmp.Compare(a.DiffID, b.DiffID) })
	return out, nil
}

// savedMount is what is kept of a mount.
func savedMount(g guest.Mount) sandbox.SavedMount {
	m := sandbox.SavedMount{Path: g.Path, ReadOnly: g.ReadOnly, Options: g.Options, Share: g.ShareID}
	if g.Image != nil {
		m.SubPath = g.Image.SubPath
		for _, l := range g.Image.Layers {
			m.Layers = append(m.Layers, l.ID)
		}
	}
	return m
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
