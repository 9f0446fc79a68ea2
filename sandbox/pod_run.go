package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/undo"
)

// RunPod makes a pod sandbox and returns its id once its VM runs, its network is up
// and it takes containers. While a pod with the same name, namespace, uid and attempt
// is there the error is AlreadyExists and names its id. After any other error nothing
// is left, or, where something could not be undone, a pod that is not ready, which
// RemovePod can finish.
func (m *Manager) RunPod(ctx context.Context, c PodConfig) (_ string, err error) {
	handler, err := m.checkPod(c)
	if err != nil {
		return "", err
	}
	vcpus, memoryMiB, err := handler.size(c.Resources, c.Overhead)
	if err != nil {
		return "", err
	}
	if err := c.Resources.fits("resources", vcpus); err != nil {
		return "", err
	}
	vm := ShimConfig{
		VCPUs: vcpus, MemoryMiB: memoryMiB, MaxVCPUs: handler.MaxVCPUs, MaxMemoryMiB: handler.MaxMemoryMiB,
	}
	var spare Shim
	vm.ID, spare = m.takeSpare(handler, vm)
	p := &pod{
		id: vm.ID, config: c, createdAt: m.cfg.Clock(), store: m.store, spare: spare,
		gate: newGate(), state: podMaking, vcpus: vcpus, memoryMiB: memoryMiB, resources: c.Resources, overhead: c.Overhead,
	}
	m.joinShared(p, handler)
	if err := m.addPod(p, true); err != nil {
		return "", errors.Join(err, m.leaveUnseen(ctx, p))
	}
	ctx = logkey.With(ctx, logkey.PodID, p.id)
	ctx, ended := m.cfg.Journal.Begin(ctx, phase.Call{Name: "RunPodSandbox"})
	defer func() { ended(p.traced(), err) }()
	// Nobody can name the pod yet, but a shim that dies early may: hold the gate.
	leave, err := p.gate.alone(ctx)
	if err != nil {
		m.dropPod(p)
		return "", errors.Join(err, m.leaveUnseen(ctx, p))
	}
	defer leave()

	var u undo.Stack
	err = m.makePod(ctx, p, &u, handler, vm)
	if err == nil {
		return p.id, nil
	}
	err = fmt.Errorf("run pod sandbox %s/%s: %w", c.Namespace, c.Name, err)
	p.connect(nil)
	uerr := u.Run(ctx, m.cfg.Timeouts.Undo)
	if uerr == nil {
		uerr = p.forget()
	}
	if uerr != nil {
		// What is left must have an owner: keep the record, for RemovePod to finish.
		merr := m.changePod(p, podBroken, func() { p.reason = "a failed start could not be undone: " + uerr.Error() })
		m.savePod(p)
		return "", undo.Failed(err, errors.Join(uerr, merr))
	}
	m.endOfPod(p)
	return "", err
}

// traced says which pod a call was for.
func (p *pod) traced() phase.Pod {
	return phase.Pod{ID: p.id, UID: p.config.UID, Namespace: p.config.Namespace, Name: p.config.Name}
}

// savePod writes the pod's record where a failure must not stop the work: the record
// on disk then is an earlier one, from which recovery gets to the same end.
func (m *Manager) savePod(p *pod) {
	if err := p.save(); err != nil {
		m.log.Error("save record of pod", logkey.PodID, p.id, logkey.Error, err)
	}
}

// saveContainer is savePod for containers.
func (m *Manager) saveContainer(c *container) {
	if err := c.save(); err != nil {
		m.log.Error("save record of container", logkey.PodID, c.pod.id, logkey.ContainerID, c.id, logkey.Error, err)
	}
}

// checkPod refuses what no VM can give.
func (m *Manager) checkPod(c PodConfig) (Handler, error) {
	h, ok := m.cfg.Handlers[c.RuntimeHandler]
	if !ok {
		return Handler{}, fmt.Errorf("runtimeHandler: %q is not configured: %w", c.RuntimeHandler, errdefs.ErrInvalidArgument)
	}
	if c.Name == "" {
		return Handler{}, fmt.Errorf("metadata.name: is empty: %w", errdefs.ErrInvalidArgument)
	}
	if c.Hostname != "" && !plainWord(c.Hostname) {
		return Handler{}, fmt.Errorf("hostname: %q is not one word: %w", c.Hostname, errdefs.ErrInvalidArgument)
	}
	if h.Sharing != nil {
		if err := h.Sharing.refuse(c); err != nil {
			return Handler{}, err
		}
	}
	return h, errors.Join(h.checkPodNamespaces(c.Namespaces), c.Resources.Validate("resources"),
		c.Overhead.Validate("overhead"), c.DNS.validate())
}

// makePod does the steps of RunPod, and puts what takes them back on u.
func (m *Manager) makePod(ctx context.Context, p *pod, u *undo.Stack, h Handler, vm ShimConfig) error {
	if p.seat != nil {
		u.Push("leave shared VM", func(ctx context.Context) error { return m.vacate(ctx, p.seat) })
	}
	if err := m.recordPod(ctx, p, u, h, &vm); err != nil {
		if p.spare != nil {
			u.Push("end spare VM", func(ctx context.Context) error { return m.endSpare(ctx, p.spare) })
		}
		return err
	}
	shim, network, disk, err := m.gather(ctx, p, u, h, vm)
	if err != nil {
		return err
	}
	if err := p.attached(network); err != nil {
		return err
	}

	setup := p.setup(h, disk)
	setup.NICs = network.NICs
	setup.ResolvConf = resolvConf(p.config.DNS, m.cfg.HostResolvConf, network)
	setup.Hosts = hostsFile(setup.Hostname, network.IPs)
	if p.seat != nil {
		// A VM of its own is a pod's limit.
		if setup.Limits, err = json.Marshal(m.cfg.Specs.Limits(p.config.Resources)); err != nil {
			return fmt.Errorf("encode limits: %w", err)
		}
	}
	stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	stepCtx, measured := phase.Begin(stepCtx, "set up pod")
	err = shim.SetupPod(stepCtx, setup)
	measured(err)
	if err != nil {
		return fmt.Errorf("set up pod in its VM: %w", err)
	}
	p.connect(shim)
	if err := m.showPod(p); err != nil {
		return err
	}
	m.watchPod(ctx, p, shim)
	return nil
}

// setup is what SetupPod takes, without what the network gives.
func (p *pod) setup(h Handler, scratch Disk) PodSetup {
	return PodSetup{
		PodID:      p.id,
		Hostname:   p.config.GuestHostname(),
		Scratch:    scratch,
		Sysctls:    p.config.Sysctls,
		ShmBytes:   h.ShmBytes,
		Namespaces: p.config.Namespaces.toVM(),
	}
}

// recordPod makes what comes before the VM. The record is first: whatever a crash leaves,
// the next start knows of.
func (m *Manager) recordPod(ctx context.Context, p *pod, u *undo.Stack, h Handler, vm *ShimConfig) error {
	if err := m.store.makePodDir(p.id); err != nil {
		return fmt.Errorf("make pod's folder: %w", err)
	}
	if err := p.save(); err != nil {
		return err
	}
	return m.makeCgroup(ctx, p, u, h, vm)
}

// showPod lets others see a pod that is made.
func (m *Manager) showPod(p *pod) error {
	p.order.Lock() // also over the writing: nobody is told of one whose record failed
	defer p.order.Unlock()
	if _, err := p.move(podMade, nil); err != nil {
		return err
	}
	if err := p.save(); err != nil {
		// Back, so that nobody sees a pod that is being undone.
		p.mu.Lock()
		p.state = podMaking
		p.mu.Unlock()
		return err
	}
	m.tellPod(p, EventCreated)
	m.tellPod(p, EventStarted)
	return nil
}

// gather starts the VM, attaches the network and makes the scratch disk, all at the
// same time, and begins the pod in the VM while the network is yet to come. Each that is
// done has its undo step on u, whatever became of the others.
func (m *Manager) gather(ctx context.Context, p *pod, u *undo.Stack, h Handler, vm ShimConfig) (Shim, NetworkResult, Disk, error) {
	var (
		shim    Shim
		network NetworkResult
		disk    Disk
		scratch bool

		haveDisk, haveNetwork = make(chan struct{}), make(chan struct{})
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if shim, err = m.vmOf(gctx, p, vm); err != nil {
			return err
		}
		select {
		case <-haveDisk:
			return m.beginPod(gctx, p, h, shim, disk, haveNetwork)
		case <-gctx.Done():
			return gctx.Err()
		}
	})
	g.Go(func() (err error) {
		ctx, cancel := context.WithTimeout(gctx, m.cfg.Timeouts.Step)
		defer cancel()
		ctx, measured := phase.Begin(ctx, "network")
		defer func() { measured(err) }()
		if network, err = m.cfg.Network.Attach(ctx, p.toNetwork()); err != nil {
			return fmt.Errorf("attach network: %w", err)
		}
		close(haveNetwork)
		return nil
	})
	g.Go(func() (err error) {
		ctx, cancel := context.WithTimeout(gctx, m.cfg.Timeouts.Step)
		defer cancel()
		ctx, measured := phase.Begin(ctx, "scratch disk")
		defer func() { measured(err) }()
		if disk, err = m.cfg.Scratch.Create(ctx, m.store.scratchPath(p.id), h.ScratchBytes); err != nil {
			return fmt.Errorf("make scratch disk: %w", err)
		}
		scratch = true
		close(haveDisk)
		return nil
	})
	err := g.Wait()
	// The VM holds the disk and the NIC: it must go first, so it is pushed last.
	if scratch {
		u.Push("remove scratch disk", func(ctx context.Context) error {
			return m.cfg.Scratch.Remove(ctx, m.store.scratchPath(p.id))
		})
	}
	// After a failed Attach too: plugins that were cut short may have left something, and
	// what the network could not undo shows here.
	u.Push("detach network", func(ctx context.Context) error { return m.cfg.Network.Detach(ctx, p.toNetwork()) })
	if shim != nil {
		u.Push("shut down VM", func(ctx context.Context) error {
			return errors.Join(shim.Shutdown(ctx), shim.Close())
		})
	}
	return shim, network, disk, err
}

// overdue says of an error of a launch that it was the node's own bound that passed, and
// not the caller's time, whose context is outer.
func (m *Manager) overdue(launch, outer context.Context, err error) error {
	if errors.Is(launch.Err(), context.DeadlineExceeded) && outer.Err() == nil {
		return fmt.Errorf("the agent did not answer within %s: %w", m.cfg.Timeouts.Launch, err)
	}
	return err
}

// vmOf returns the pod's VM: its place in one that pods share, its spare, or one that is
// launched. With an error it may return a spare that is to be ended.
func (m *Manager) vmOf(outer context.Context, p *pod, vm ShimConfig) (shim Shim, err error) {
	outer, measured := phase.Begin(outer, "vm")
	defer func() { measured(err) }()
	if p.spare != nil {
		if shim, err := m.vmOfSpare(outer, p); shim != nil || err != nil {
			return shim, err
		}
	}
	ctx, cancel := context.WithTimeout(outer, m.cfg.Timeouts.Launch)
	defer cancel()
	if p.seat != nil {
		shim, err = m.launchShared(ctx, p.seat)
	} else {
		shim, err = m.cfg.Launcher.Launch(ctx, vm)
	}
	if err != nil {
		return nil, fmt.Errorf("launch VM: %w", m.overdue(ctx, outer, err))
	}
	return shim, nil
}

// watchPod waits in the background for the end of the pod's VM.
func (m *Manager) watchPod(ctx context.Context, p *pod, shim Shim) {
	m.tasks.start(ctx, func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-shim.Done():
			m.losePod(p, shim)
		}
	})
}

// losePod records that a pod's VM ended. When that was asked for there is nothing to say.
func (m *Manager) losePod(p *pod, shim Shim) {
	why := lossOf(shim)
	lost := false
	err := m.changePod(p, podLose, func() {
		if lost = p.state == podLost; lost {
			p.reason = why
		}
	})
	if err != nil || !lost {
		return
	}
	m.log.Error("VM ended unasked", logkey.PodID, p.id, logkey.Reason, why)
	for _, c := range m.containersOf(p) {
		m.endContainer(c, end{code: exitUnknown, reason: reasonUnknown, message: why})
	}
	m.savePod(p)
}

// lossOf says why a VM ended that nobody ended.
func lossOf(shim Shim) string {
	if err := shim.Err(); err != nil {
		return err.Error() // "the VM ended: qemu ended: signal: killed", or what became of the shim
	}
	return "the VM ended"
}

// endContainer records a container's end, if it has not ended yet.
func (m *Manager) endContainer(c *container, e end) {
	now := m.cfg.Clock()
	if e.at.IsZero() {
		e.at = now
	}
	c.pod.order.Lock()
	exited := c.exit(e, now)
	if exited {
		m.tellContainer(c, EventStopped)
	}
	c.pod.order.Unlock()
	if !exited {
		return
	}
	m.log.Info("container exited", logkey.PodID, c.pod.id, logkey.ContainerID, c.id,
		logkey.ExitCode, e.code, logkey.Reason, e.reason)
	m.saveContainer(c)
}

// waitClosed waits until ch is closed, ctx ends or d has passed, and reports whether
// ch is closed.
func waitClosed(ctx context.Context, ch <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ch:
		return true
	default:
	}
	select {
	case <-ch:
		return true
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}
