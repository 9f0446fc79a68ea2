package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/internal/undo"
)

// RestoreConfig says which checkpoint becomes which pod.
type RestoreConfig struct {
	Dir        string // the checkpoint, which is only read
	Pod        PodConfig
	Containers []ContainerConfig // of the names that the checkpoint has
}

// RestoredContainer is a container that RestorePod made.
type RestoredContainer struct{ Name, ID string }

// RestorePod makes a pod of a checkpoint: a new pod with a network and disks of its own, in
// which the containers are created and go on where they were when they are started. Any
// number of pods may be made of one checkpoint. A checkpoint that is damaged is DataLoss,
// one that does not fit this node or the config is FailedPrecondition. After an error nothing
// is left, or, where something could not be undone, a pod that is not ready, which RemovePod
// can finish.
func (m *Manager) RestorePod(ctx context.Context, r RestoreConfig) (string, []RestoredContainer, error) {
	handler, err := m.checkPod(r.Pod)
	if err != nil {
		return "", nil, err
	}
	if handler.Sharing != nil {
		return "", nil, fmt.Errorf("runtimeHandler: pods of %q share VMs, and a checkpoint is a VM of one pod: %w",
			r.Pod.RuntimeHandler, errdefs.ErrFailedPrecondition)
	}
	saved, err := readCheckpoint(r.Dir)
	if err != nil {
		return "", nil, err
	}
	if err := saved.fits(r, handler); err != nil {
		return "", nil, err
	}
	p := &pod{
		id: newID(), config: r.Pod, createdAt: m.cfg.Clock(), store: m.store,
		gate: newGate(), state: podMaking, vcpus: saved.Saved.VCPUs, memoryMiB: saved.Saved.MemoryMiB,
		resources: r.Pod.Resources, overhead: r.Pod.Overhead,
	}
	if err := m.addPod(p, true); err != nil {
		return "", nil, err
	}
	ctx = logkey.With(ctx, logkey.PodID, p.id)
	leave, err := p.gate.alone(ctx)
	if err != nil {
		m.dropPod(p)
		return "", nil, err
	}
	defer leave()
	var u undo.Stack
	re := &restore{m: m, from: saved, config: r, handler: handler, pod: p, undo: &u}
	err = re.run(ctx)
	if err == nil {
		return p.id, re.names(), nil
	}
	err = fmt.Errorf("restore pod sandbox %s/%s: %w", r.Pod.Namespace, r.Pod.Name, err)
	return "", nil, re.unmake(ctx, err)
}

// restore is one RestorePod at work.
type restore struct {
	m       *Manager
	from    checkpoint
	config  RestoreConfig
	handler Handler
	pod     *pod
	undo    *undo.Stack

	containers []*container // in the order of config.Containers
	setup      PodRestore
	cgroups    []string          // of the host, that the VM is to be in
	layers     map[string]string // paths by diff id
}

func (r *restore) names() []RestoredContainer {
	var out []RestoredContainer
	for _, c := range r.containers {
		out = append(out, RestoredContainer{Name: c.config.Name, ID: c.id})
	}
	return out
}

// unmake takes back what was made, and returns err with what could not be.
func (r *restore) unmake(ctx context.Context, err error) error {
	m, p := r.m, r.pod
	p.connect(nil)
	uerr := r.undo.Run(ctx, m.cfg.Timeouts.Undo)
	if uerr == nil {
		uerr = p.forget() // with the records of its containers
	}
	for _, c := range r.containers {
		c.mu.Lock()
		c.forgotten = uerr == nil
		c.mu.Unlock()
		if uerr != nil { // the pod's removal finishes it
			m.endContainer(c, end{code: exitStartError, reason: reasonStartError, message: "its pod could not be restored"})
			continue
		}
		m.endOfContainer(c)
	}
	if uerr != nil {
		merr := m.changePod(p, podBroken, func() { p.reason = "a failed restore could not be undone: " + uerr.Error() })
		m.savePod(p)
		return undo.Failed(err, errors.Join(uerr, merr))
	}
	m.endOfPod(p)
	return err
}

// run does the steps, and puts what takes them back on the stack.
func (r *restore) run(ctx context.Context) error {
	m, p := r.m, r.pod
	// The record comes first: whatever a crash leaves, the next start knows of.
	if err := m.store.makePodDir(p.id); err != nil {
		return fmt.Errorf("make pod's folder: %w", err)
	}
	if err := p.save(); err != nil {
		return err
	}
	vm := ShimConfig{MemoryMiB: r.from.Saved.MemoryMiB}
	if err := m.makeCgroup(ctx, p, r.undo, r.handler, &vm); err != nil {
		return err
	}
	r.cgroups = vm.Cgroups
	r.layers = map[string]string{}
	for _, cc := range r.config.Containers {
		if err := r.prepareContainer(ctx, cc); err != nil {
			return fmt.Errorf("container %s: %w", cc.Name, err)
		}
	}
	shares, err := r.shares()
	if err != nil {
		return err
	}
	r.setup.Shares = shares
	shim, network, disk, err := r.gather(ctx)
	if err != nil {
		return err
	}
	if err := p.attached(network); err != nil {
		return err
	}
	name := p.config.GuestHostname()
	r.setup.Setup = PodSetup{
		PodID: p.id, Hostname: name, Scratch: disk, NICs: network.NICs,
		ResolvConf: resolvConf(p.config.DNS, m.cfg.HostResolvConf, network), Hosts: hostsFile(name, network.IPs),
	}
	if err := r.restorePod(ctx, shim); err != nil {
		return err
	}
	p.connect(shim)
	return r.show(ctx, shim)
}

// prepareContainer makes the record of a container, and ready what it needs of the host.
func (r *restore) prepareContainer(ctx context.Context, cc ContainerConfig) error {
	m, p := r.m, r.pod
	saved := r.from.container(cc.Name)
	logPath, err := p.checkContainer(cc)
	if err != nil {
		return err
	}
	c := &container{
		id: newID(), pod: p, config: cc, createdAt: m.cfg.Clock(), logPath: logPath,
		gate: newGate(), state: containerCreating, exited: make(chan struct{}), resources: cc.Resources,
		user: saved.User, pid: saved.PID,
	}
	if err := m.addContainer(c); err != nil {
		return err
	}
	r.containers = append(r.containers, c)
	if err := c.save(); err != nil {
		return err
	}
	stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	root, err := m.cfg.Images.Prepare(stepCtx, cc.Image, c.id)
	if err != nil {
		return err
	}
	r.undo.Push("release image", func(ctx context.Context) error { return m.cfg.Images.Release(ctx, c.id) })
	if root.ImageID != saved.ImageID {
		return fmt.Errorf("image %s is %s, and the checkpoint's is %s: %w", cc.Image, root.ImageID, saved.ImageID, errdefs.ErrFailedPrecondition)
	}
	facts, err := m.factsOf(stepCtx, p.config, cc, root.Config)
	if err != nil {
		return err
	}
	if err := compareFacts(saved.Facts, facts); err != nil {
		return err
	}
	mounts, err := m.makeMounts(stepCtx, c, r.undo)
	if err != nil {
		return err
	}
	inVM := r.from.savedContainer(saved.ID)
	if err := compareMounts(inVM.Mounts, mounts); err != nil {
		return err
	}
	for _, l := range root.Layers {
		r.layers[l.DiffID] = l.Path
	}
	for _, mount := range mounts {
		if mount.Image != nil {
			for _, l := range mount.Image.Layers {
				r.layers[l.DiffID] = l.Path
			}
		}
	}
	c.mu.Lock()
	c.imageID, c.stopSignal = root.ImageID, m.stopSignalOf(c, root.Config)
	c.mu.Unlock()
	r.setup.Containers = append(r.setup.Containers, ContainerRestore{
		ID: c.id, SavedID: saved.ID, StdinOnce: cc.StdinOnce, LogPath: logPath, LogDir: c.pod.config.LogDirectory,
		Layers: root.Layers, Mounts: mounts,
	})
	return nil
}

// gather makes the scratch disk and starts the VM, and attaches the network at the same time.
// Each that is done has its undo step on the stack, whatever became of the others.
func (r *restore) gather(ctx context.Context) (Shim, NetworkResult, Disk, error) {
	var (
		m, p    = r.m, r.pod
		shim    Shim
		network NetworkResult
		disk    Disk
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if disk, err = r.scratch(gctx); err != nil {
			return err
		}
		shim, err = r.launch(gctx, disk)
		return err
	})
	g.Go(func() (err error) {
		ctx, cancel := context.WithTimeout(gctx, m.cfg.Timeouts.Step)
		defer cancel()
		if network, err = m.cfg.Network.Attach(ctx, p.toNetwork()); err != nil {
			return fmt.Errorf("attach network: %w", err)
		}
		return nil
	})
	err := g.Wait()
	// The VM holds the disk and the NIC: it must go first, so it is pushed last.
	r.undo.Push("remove scratch disk", func(ctx context.Context) error {
		return m.cfg.Scratch.Remove(ctx, m.store.scratchPath(p.id))
	})
	r.undo.Push("detach network", func(ctx context.Context) error { return m.cfg.Network.Detach(ctx, p.toNetwork()) })
	if shim != nil {
		r.undo.Push("shut down VM", func(ctx context.Context) error {
			return errors.Join(shim.Shutdown(ctx), shim.Close())
		})
	}
	return shim, network, disk, err
}

// scratch makes the pod's disk of the checkpoint's.
func (r *restore) scratch(ctx context.Context) (Disk, error) {
	maker, ok := r.m.cfg.Scratch.(ScratchRestorer)
	if !ok {
		return Disk{}, fmt.Errorf("make scratch disk: %w", errdefs.ErrNotImplemented)
	}
	f, err := os.Open(filepath.Join(r.config.Dir, ScratchFile))
	if err != nil {
		return Disk{}, fmt.Errorf("read checkpoint: %w: %w", err, errdefs.ErrDataLoss)
	}
	defer f.Close()
	s := newSummer(ctx, f)
	disk, err := maker.Restore(ctx, r.m.store.scratchPath(r.pod.id), s)
	if err != nil {
		if errors.Is(err, sparsefile.ErrDamaged) || errors.Is(err, sparsefile.ErrTooLarge) {
			err = fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
		}
		return Disk{}, fmt.Errorf("make scratch disk of the checkpoint's: %w", err)
	}
	return disk, r.from.compare(r.config.Dir, ScratchFile, s.sum())
}

// launch restores the VM, with disks of this node in the places of the saved one's.
func (r *restore) launch(ctx context.Context, scratch Disk) (Shim, error) {
	if err := r.from.checkFile(ctx, r.config.Dir, StateFile); err != nil {
		return nil, err
	}
	saved := r.from.Saved
	saved.VM.Disks = slices.Clone(saved.VM.Disks)
	for i := range saved.VM.Disks {
		d := &saved.VM.Disks[i]
		if d.Address == saved.Scratch {
			d.Disk = scratch
			continue
		}
		n := slices.IndexFunc(saved.Layers, func(l SavedLayer) bool { return l.Address == d.Address })
		if n < 0 || r.layers[saved.Layers[n].DiffID] == "" {
			return nil, fmt.Errorf("disk at %v is of no layer of the containers' images: %w", d.Address, errdefs.ErrFailedPrecondition)
		}
		d.Disk.Path = r.layers[saved.Layers[n].DiffID]
	}
	lctx, cancel := context.WithTimeout(ctx, r.m.cfg.Timeouts.Launch)
	defer cancel()
	shim, err := r.m.cfg.Launcher.Launch(lctx, ShimConfig{
		ID: r.pod.id, VCPUs: saved.VCPUs, MemoryMiB: saved.MemoryMiB, Cgroups: r.cgroups,
		Restore: &ShimRestore{State: filepath.Join(r.config.Dir, StateFile), Saved: saved},
	})
	if err != nil {
		return nil, fmt.Errorf("launch VM: %w", r.m.overdue(lctx, ctx, err))
	}
	return shim, nil
}

// restorePod makes the pod in the VM the new one, with limits as they are asked for.
func (r *restore) restorePod(ctx context.Context, shim Shim) error {
	restorer, ok := shim.(Checkpointer)
	if !ok {
		return fmt.Errorf("its VM cannot be restored: %w", errdefs.ErrNotImplemented)
	}
	ctx, cancel := context.WithTimeout(ctx, r.m.cfg.Timeouts.Step)
	defer cancel()
	if err := restorer.RestorePod(ctx, r.setup); err != nil {
		return fmt.Errorf("set up pod in its VM: %w", err)
	}
	for _, c := range r.containers {
		was := r.from.container(c.config.Name).Resources
		if reflect.DeepEqual(was, c.config.Resources) {
			continue
		}
		limits, err := json.Marshal(r.m.cfg.Specs.Limits(c.config.Resources))
		if err != nil {
			return fmt.Errorf("encode limits: %w", err)
		}
		if err := shim.UpdateContainer(ctx, c.id, limits); err != nil {
			return fmt.Errorf("set limits of container %s: %w", c.config.Name, err)
		}
	}
	return nil
}

// show lets others see the pod, and its containers.
func (r *restore) show(ctx context.Context, shim Shim) error {
	m, p := r.m, r.pod
	if err := m.showPod(p); err != nil {
		return err
	}
	for _, c := range r.containers {
		if err := m.showContainer(c); err != nil {
			// It was seen, so that it is told that it goes.
			return errors.Join(err, m.changePod(p, podStop, nil))
		}
	}
	m.watchPod(ctx, p, shim)
	return nil
}
