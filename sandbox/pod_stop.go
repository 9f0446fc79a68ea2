package sandbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/internal/logkey"
)

// errPodStopping ends what is at work in a pod that is to stop.
var errPodStopping = fmt.Errorf("the pod sandbox is being stopped: %w", errdefs.ErrFailedPrecondition)

// StopPod kills the pod's containers, ends its VM and gives back its network, its
// scratch disk and its control group. The pod stays, not ready, until RemovePod. A pod that is stopped is not
// an error; after an error it may be called again to finish. Once begun it goes on to its
// end when ctx ends: its steps have limits of their own, and cut short they would kill
// the shim with the rest of the logs in it.
func (m *Manager) StopPod(ctx context.Context, id string) error {
	p, err := m.findPod(id)
	if err != nil {
		return err
	}
	leave, err := p.enterAlone(ctx)
	if err != nil {
		return fmt.Errorf("stop pod sandbox %s: %w", p.id, err)
	}
	defer leave()
	if p.current() == podRemoving {
		return nil
	}
	if err := m.stopPod(context.WithoutCancel(ctx), p); err != nil {
		return fmt.Errorf("stop pod sandbox %s: %w", p.id, err)
	}
	return nil
}

// RemovePod stops the pod, removes its containers, and forgets it. After an error it
// may be called again to finish. As StopPod it goes on when ctx ends.
func (m *Manager) RemovePod(ctx context.Context, id string) error {
	p, err := m.findPod(id)
	if err != nil {
		return err
	}
	leave, err := p.enterAlone(ctx)
	if err != nil {
		return fmt.Errorf("remove pod sandbox %s: %w", p.id, err)
	}
	defer leave()
	if err := m.removePod(context.WithoutCancel(ctx), p); err != nil {
		return fmt.Errorf("remove pod sandbox %s: %w", p.id, err)
	}
	return nil
}

// enterAlone ends what is at work in the pod and takes its gate.
func (p *pod) enterAlone(ctx context.Context) (leave func(), err error) {
	return p.gate.evict(ctx, errPodStopping)
}

// stopPod is StopPod with the gate held. Every step can be repeated.
func (m *Manager) stopPod(ctx context.Context, p *pod) error {
	if err := m.changePod(p, podStop, nil); err != nil || p.current() == podStopped {
		return err
	}
	m.savePod(p)
	if err := m.endParts(ctx, p); err != nil {
		return err
	}
	if _, err := p.move(podStopDone, func() { p.network = withoutNamespace(p.network) }); err != nil {
		return err
	}
	m.savePod(p)
	return nil
}

// endParts kills the pod's containers, ends its VM and gives back what the pod had. Where the
// network allows it, its part is done beside all that: it takes longest, most of it waiting for
// the host's kernel.
func (m *Manager) endParts(ctx context.Context, p *pod) error {
	var network errgroup.Group
	// A VM that lives on needs its NIC back.
	early := m.cfg.DetachEarly && p.seat == nil
	if early {
		network.Go(func() error { return m.detachNetwork(ctx, p) })
	}
	m.killContainers(ctx, p)
	if err := m.endVM(ctx, p); err != nil {
		return errors.Join(fmt.Errorf("shut down VM: %w", err), network.Wait())
	}
	// Their VM is gone, and they with it.
	for _, c := range m.containersOf(p) {
		m.endContainer(c, end{code: exitKilled, reason: reasonError, message: "killed with its pod sandbox"})
	}
	if !early {
		network.Go(func() error { return m.detachNetwork(ctx, p) })
	}
	return errors.Join(network.Wait(), m.detach(ctx, p))
}

// withoutNamespace keeps the addresses for status calls.
func withoutNamespace(n *NetworkResult) *NetworkResult {
	if n == nil {
		return nil
	}
	kept := *n
	kept.Namespace = ""
	return &kept
}

// killContainers kills what runs in the pod and waits a bounded time for the exits, so
// that codes and logs are whole. What does not end in time ends with the VM.
func (m *Manager) killContainers(ctx context.Context, p *pod) {
	shim := p.running()
	if shim == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Kill)
	defer cancel()
	var g errgroup.Group
	for _, c := range m.containersOf(p) {
		if c.current() != containerRunning {
			continue
		}
		g.Go(func() error {
			if err := shim.Signal(ctx, c.id, sigKill, true); err != nil && !errdefs.IsFailedPrecondition(err) {
				return fmt.Errorf("kill container %s: %w", c.id, err)
			}
			if !waitClosed(ctx, c.exited, m.cfg.Timeouts.Kill) {
				return fmt.Errorf("container %s did not end after SIGKILL", c.id)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		m.log.Warn("containers end with their VM", logkey.PodID, p.id, logkey.Error, err)
	}
}

// endVM shuts the pod's VM down, whether or not this daemon is connected to its shim. From
// a VM that others share it takes the pod out.
func (m *Manager) endVM(ctx context.Context, p *pod) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	if p.seat != nil {
		if err := m.vacate(ctx, p.seat); err != nil {
			return err
		}
		p.connect(nil)
		return nil
	}
	shim := p.running()
	if shim == nil || isClosed(shim.Done()) {
		// An ended connection does not prove an ended shim: ask anew.
		old := shim
		var err error
		if shim, err = m.openToEnd(ctx, p.id); err != nil {
			return err
		}
		if shim == nil {
			p.connect(nil)
			return closeShim(old)
		}
		p.connect(shim)
		if err := closeShim(old); err != nil {
			return err
		}
	}
	if err := shim.Shutdown(ctx); err != nil {
		return err
	}
	p.connect(nil)
	return shim.Close()
}

// openToEnd connects to a shim that is to be asked to end. It returns nil when there is
// none, or none any more: one that cannot be asked is ended without.
func (m *Manager) openToEnd(ctx context.Context, id string) (Shim, error) {
	openCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Open)
	defer cancel()
	shim, err := m.cfg.Launcher.Open(openCtx, id)
	if err == nil {
		return shim, nil
	}
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	m.log.Warn("ending a shim that cannot be asked to", logkey.VMID, id, logkey.Error, err)
	return nil, m.cfg.Launcher.End(ctx, id)
}

func closeShim(s Shim) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// detachNetwork gives the network back.
func (m *Manager) detachNetwork(ctx context.Context, p *pod) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	if err := m.cfg.Network.Detach(ctx, p.toNetwork()); err != nil {
		return fmt.Errorf("detach network: %w", err)
	}
	return nil
}

// detach gives the scratch disk and the control group back; both are tried.
func (m *Manager) detach(ctx context.Context, p *pod) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	var errs []error
	if err := m.cfg.Scratch.Remove(ctx, m.store.scratchPath(p.id)); err != nil {
		errs = append(errs, fmt.Errorf("remove scratch disk: %w", err))
	}
	if p.config.CgroupParent != "" {
		errs = append(errs, m.removeCgroup(ctx, p.id, p.config.CgroupParent))
	}
	return errors.Join(errs...)
}

// removePod is RemovePod with the gate held. Every step can be repeated.
func (m *Manager) removePod(ctx context.Context, p *pod) error {
	if p.current() != podRemoving {
		if err := m.stopPod(ctx, p); err != nil {
			return err
		}
	}
	if _, err := p.move(podRemove, nil); err != nil {
		return err
	}
	for _, c := range m.containersOf(p) {
		leave, err := c.gate.alone(ctx)
		if err != nil {
			return err
		}
		err = m.removeContainer(ctx, c)
		leave()
		if err != nil {
			return fmt.Errorf("container %s: %w", c.id, err)
		}
	}
	m.savePod(p)
	if err := p.forget(); err != nil {
		return fmt.Errorf("remove record: %w", err)
	}
	m.endOfPod(p)
	return nil
}
