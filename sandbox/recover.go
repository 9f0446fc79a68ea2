package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/internal/logkey"
)

// What recovery makes of each stored state. "Shim up" means that Launcher.Open found
// the pod's shim; it is gone after the shim's or VM's death and after a reboot.
//
//	pod        shim up                        shim gone
//	making     all undone, forgotten          all undone, forgotten
//	ready      ready                          resources given back: stopped, with a reason
//	lost       VM ended: stopped              stopped
//	stopping   stop finished: stopped         stopped
//	stopped    (does not happen)              stopped
//	removing   (does not happen)              removal finished: forgotten
//
//	container  pod ready                      pod not ready
//	creating   undone, forgotten              forgotten
//	created    as the shim says (*)           exited 255 Unknown
//	running    as the shim says (*)           exited 255 Unknown
//	lost       as the shim says (*)           exited 255 Unknown
//	exited     exited                         exited
//	removing   removal finished: forgotten    forgotten
//
// Of a VM that pods share the same goes for each of them: it is up while its shim is found
// and knows the pod. It goes when none of its pods is left.
//
//	(*) created, running, or exited with the code the shim kept; exited 255 Unknown when
//	    the shim does not know it.
//
// A pod whose giving back fails stays lost, stopping or removing: StopPod or RemovePod tries
// again. A pod whose shim is there but does not answer is lost, its running containers
// too, and nothing of it is touched until StopPod. A file that is no record is moved to
// the quarantine. Shims, containers in them, and holds of images that no record knows are
// ended.

// recoverWidth is how many pods are recovered at the same time.
const recoverWidth = 8

// recover takes over what an earlier daemon left.
func (m *Manager) recover(ctx context.Context) error {
	pods, broken, err := m.store.load()
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(pods))
	for _, s := range pods {
		known[s.pod.ID] = true
		if err := m.adopt(s); err != nil {
			return err
		}
	}
	for vm := range m.shared.all() {
		known[vm.id] = true
	}
	m.endStrayShims(ctx, known)
	for _, b := range broken {
		m.log.Error("record is broken, moved away", logkey.PodID, b.podID,
			logkey.ContainerID, b.containerID, logkey.Path, b.movedTo, logkey.Error, b.cause)
		m.dropBroken(ctx, b)
	}
	m.releaseStrayHolds(ctx)
	var g errgroup.Group
	g.SetLimit(recoverWidth)
	for _, p := range m.allPods() {
		g.Go(func() error {
			if err := m.recoverPod(ctx, p); err != nil {
				m.log.Error("recover pod", logkey.PodID, p.id, logkey.Error, err)
			}
			return nil
		})
	}
	err = g.Wait()
	m.evictStrays(ctx)
	return errors.Join(err, ctx.Err())
}

// adopt makes a stored pod and its containers known, in their stored states.
func (m *Manager) adopt(s stored) error {
	r := s.pod
	state, _ := stateNamed(podStateNames, r.State)
	p := &pod{
		id: r.ID, config: r.Config, createdAt: r.CreatedAt, store: m.store,
		gate: newGate(), state: state, network: r.Network, reason: r.Reason, ungrouped: r.Ungrouped,
		vcpus: r.VCPUs, memoryMiB: r.MemoryMiB, resources: r.Config.Resources, overhead: r.Config.Overhead,
		told: told{made: state != podMaking},
	}
	if r.VM != nil && state != podStopped && state != podRemoving { // those hold no VM any more
		p.seat = m.shared.adopt(p, r.VM.ID, r.VM.Spec, r.VM.Need)
	}
	if err := m.addPod(p, false); err != nil {
		return err
	}
	for _, r := range s.containers {
		state, _ := stateNamed(containerStateNames, r.State)
		c := &container{
			id: r.ID, pod: p, config: r.Config, createdAt: r.CreatedAt,
			gate: newGate(), state: state, told: told{made: state != containerCreating}, imageID: r.ImageID,
			startedAt: r.StartedAt, finishedAt: r.FinishedAt, exitCode: r.ExitCode,
			reason: r.Reason, message: r.Message, user: r.User, resources: r.Config.Resources,
			stopSignal: r.StopSignal, pid: r.PID, mountImages: r.MountImages, exited: make(chan struct{}),
		}
		if r.Config.LogPath != "" && p.config.LogDirectory != "" {
			c.logPath = filepath.Join(p.config.LogDirectory, r.Config.LogPath)
		}
		if state == containerExited || state == containerRemoving {
			close(c.exited)
		}
		if err := m.addContainer(c); err != nil {
			return err
		}
	}
	return nil
}

// endStrayShims ends shims that no record knows.
func (m *Manager) endStrayShims(ctx context.Context, known map[string]bool) {
	ids, err := m.cfg.Launcher.List(ctx)
	if err != nil {
		m.log.Error("list shims", logkey.Error, err)
		return
	}
	for _, id := range ids {
		if known[id] {
			continue
		}
		m.log.Warn("ending a shim that no record knows", logkey.VMID, id)
		if err := m.endShim(ctx, id); err != nil {
			m.log.Error("end shim", logkey.VMID, id, logkey.Error, err)
		}
	}
}

// releaseStrayHolds lets go of images that containers held whose records are gone.
func (m *Manager) releaseStrayHolds(ctx context.Context) {
	images, ok := m.cfg.Images.(ImageHolders)
	if !ok {
		return
	}
	for _, id := range images.Holders() {
		m.mu.RLock()
		_, known := m.containers[holderContainer(id)]
		m.mu.RUnlock()
		if known {
			continue
		}
		if err := m.cfg.Images.Release(ctx, id); err != nil {
			m.log.Error("release image of a container that no record knows", logkey.ContainerID, id, logkey.Error, err)
		}
	}
}

// endShim ends a shim that no pod is connected to.
func (m *Manager) endShim(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	shim, err := m.openToEnd(ctx, id)
	if shim == nil || err != nil {
		return err
	}
	return errors.Join(shim.Shutdown(ctx), shim.Close())
}

// dropBroken gives back what can be known of a pod or container whose record is
// broken. Its shim was ended as a stray one, or is asked by recoverPod.
func (m *Manager) dropBroken(ctx context.Context, b brokenRecord) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	var err error
	if b.containerID != "" {
		err = m.cfg.Images.Release(ctx, b.containerID) // those of its mounts are stray, and go after this
	} else {
		err = errors.Join(
			m.cfg.Network.Detach(ctx, PodNetwork{ID: b.podID}),
			m.cfg.Scratch.Remove(ctx, filepath.Join(b.movedTo, scratchFile)),
			m.removeCgroup(ctx, b.podID, ""))
	}
	if err != nil {
		m.log.Error("give back what a broken record held", logkey.PodID, b.podID, logkey.Error, err)
	}
}

// recoverPod brings one pod from its stored state to where the table says.
func (m *Manager) recoverPod(ctx context.Context, p *pod) error {
	leave, err := p.gate.alone(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, c := range m.containersOf(p) {
		m.holdImage(ctx, c)
	}
	switch p.current() {
	case podMaking:
		if _, err := p.move(podRecovered, nil); err != nil {
			return err
		}
		return m.removePod(ctx, p)
	case podRemoving:
		if err := errors.Join(m.endVM(ctx, p), m.finishContainers(ctx, p, "")); err != nil {
			return err
		}
		return m.removePod(ctx, p)
	case podStopped:
		if err := m.endVM(ctx, p); err != nil {
			return err
		}
		return m.finishContainers(ctx, p, "")
	case podReadyVM:
		return m.reconnect(ctx, p)
	default: // lost, stopping
		why := p.view().Reason
		return m.stopLost(ctx, p, why)
	}
}

// holdImage claims the container's image anew: the image store of this daemon does
// not know what the earlier one held.
func (m *Manager) holdImage(ctx context.Context, c *container) {
	if s := c.current(); s == containerCreating || s == containerRemoving || c.imageID == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	hold := func(image, holder string) {
		if _, err := m.cfg.Images.Prepare(ctx, image, holder); err != nil {
			m.log.Warn("hold image", logkey.ContainerID, c.id, logkey.Image, image, logkey.Error, err)
		}
	}
	hold(c.imageID, c.id)
	for i, image := range c.mountImages {
		if image != "" {
			hold(image, mountHolder(c.id, i))
		}
	}
}

// reconnect takes over a pod that was ready.
func (m *Manager) reconnect(ctx context.Context, p *pod) error {
	openCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Open)
	defer cancel()
	shim, err := m.findVM(openCtx, p)
	if errdefs.IsNotFound(err) {
		return m.stopLost(ctx, p, "the VM ended while the daemon was not running: "+err.Error())
	}
	var held ShimState
	if err == nil {
		held, err = shim.State(openCtx)
		if p.seat != nil && errdefs.IsNotFound(err) {
			return m.stopLost(ctx, p, err.Error())
		}
		if err != nil {
			err = errors.Join(err, shim.Close())
		}
	}
	if err != nil {
		m.unreachable(p, err)
		return err
	}
	p.connect(shim)
	if err := m.reconcile(ctx, p, shim, held); err != nil {
		m.log.Error("reconcile containers", logkey.PodID, p.id, logkey.Error, err)
	}
	m.watchPod(ctx, p, shim)
	return nil
}

// findVM connects to the VM that the pod had.
func (m *Manager) findVM(ctx context.Context, p *pod) (Shim, error) {
	if p.seat != nil {
		return m.findShared(ctx, p.seat)
	}
	return m.cfg.Launcher.Open(ctx, p.id)
}

// unreachable marks a pod whose shim is there and does not answer.
func (m *Manager) unreachable(p *pod, cause error) {
	why := "the VM's shim does not answer: " + cause.Error()
	if _, err := p.move(podLose, func() { p.reason = why }); err != nil {
		m.log.Error("mark pod", logkey.PodID, p.id, logkey.Error, err)
	}
	for _, c := range m.containersOf(p) {
		if _, err := c.move(containerLose, func() { c.message = why }); err == nil {
			m.saveContainer(c)
		}
	}
	m.savePod(p)
}

// stopLost gives back what a pod holds whose VM is gone or must go.
func (m *Manager) stopLost(ctx context.Context, p *pod, why string) error {
	// Containers first, so that their end reads as what it was.
	cerr := m.finishContainers(ctx, p, why)
	p.mu.Lock()
	if p.reason == "" {
		p.reason = why
	}
	p.mu.Unlock()
	return errors.Join(cerr, m.stopPod(ctx, p))
}

// finishContainers ends the containers of a pod without a VM, and finishes what was
// half done with them.
func (m *Manager) finishContainers(ctx context.Context, p *pod, why string) error {
	if why == "" {
		why = "its exit was not seen"
	}
	var errs []error
	for _, c := range m.containersOf(p) {
		switch c.current() {
		case containerCreating, containerRemoving:
			errs = append(errs, m.removeContainer(ctx, c))
		case containerExited:
		default:
			m.endContainer(c, end{code: exitUnknown, reason: reasonUnknown, message: why})
		}
	}
	return errors.Join(errs...)
}

// reconcile brings the containers of a ready pod to what its shim says of them.
func (m *Manager) reconcile(ctx context.Context, p *pod, shim Shim, held ShimState) error {
	byID := make(map[string]ContainerState, len(held.Containers))
	for _, s := range held.Containers {
		byID[s.ID] = s
	}
	var errs []error
	for _, c := range m.containersOf(p) {
		s, known := byID[c.id]
		delete(byID, c.id)
		switch c.current() {
		case containerCreating, containerRemoving:
			errs = append(errs, m.removeContainer(ctx, c))
			continue
		case containerExited:
			continue
		}
		m.reconcileContainer(ctx, c, shim, s, known)
	}
	for id := range byID {
		stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
		if err := shim.RemoveContainer(stepCtx, id); err != nil {
			errs = append(errs, fmt.Errorf("remove container %s, which no record knows: %w", id, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

func (m *Manager) reconcileContainer(ctx context.Context, c *container, shim Shim, s ContainerState, known bool) {
	if !known {
		m.endContainer(c, end{code: exitUnknown, reason: reasonUnknown, message: "its VM does not know it"})
		return
	}
	now := m.cfg.Clock()
	c.mu.Lock()
	c.message = ""
	if s.Started && c.startedAt.IsZero() {
		c.startedAt = between(s.StartedAt, c.createdAt, now)
	}
	switch {
	case s.Started || s.Exit != nil:
		c.state = containerRunning // an exit follows from there
	default:
		c.state = containerCreated
	}
	c.mu.Unlock()
	switch {
	case s.Exit != nil:
		m.endContainer(c, endOf(*s.Exit))
		return
	case s.Started:
		m.watchContainer(ctx, c, shim)
	}
	m.saveContainer(c)
}
