package sandbox

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// StopContainer asks a container to end with its stop signal, waits up to timeout, and
// kills it. Without a timeout it is killed at once. One that does not run is not an
// error. When ctx ends first the container may be running still.
func (m *Manager) StopContainer(ctx context.Context, id string, timeout time.Duration) error {
	c, err := m.findContainer(id)
	if err != nil {
		return err
	}
	err = m.besidePodsEnd(ctx, c, func() error { return m.stopContainer(ctx, c, timeout) })
	if err != nil {
		return fmt.Errorf("stop container %s: %w", c.id, err)
	}
	return nil
}

// besidePodsEnd ends a container whose pod may be ending too. What fails as the pod's VM
// goes away under it is tried again when the pod's end has ended: mostly there is nothing
// left to do then. It does not wait for that from the start, since a pod's end waits for
// containers, and a VM that hangs has a limit of its own for each.
func (m *Manager) besidePodsEnd(ctx context.Context, c *container, end func() error) error {
	err := end()
	if err == nil || !c.pod.ending() {
		return err
	}
	_, leave, waitErr := c.pod.gate.share(ctx)
	if waitErr != nil {
		return err
	}
	leave()
	return end()
}

// goneWait bounds the wait for the news that a shim has ended, which can come after the
// error of a call that noticed.
const goneWait = 250 * time.Millisecond

// isGone tells whether a call to a shim failed since the shim and its VM have ended.
func isGone(ctx context.Context, shim Shim, err error) bool {
	return isClosed(shim.Done()) || errdefs.IsUnavailable(err) && waitClosed(ctx, shim.Done(), goneWait)
}

func (m *Manager) stopContainer(ctx context.Context, c *container, timeout time.Duration) error {
	switch c.current() {
	case containerCreating, containerExited, containerRemoving:
		return nil
	case containerCreated, containerStarting:
		return m.stopCreated(ctx, c, timeout)
	}
	shim := c.pod.running()
	if shim == nil {
		return fmt.Errorf("its VM cannot be reached: %w", errdefs.ErrUnavailable)
	}
	if timeout > 0 {
		c.mu.Lock()
		name := c.stopSignal
		c.mu.Unlock()
		signal, err := parseSignal(name)
		if err != nil {
			return err
		}
		if err := m.signal(ctx, c, shim, signal, false); err != nil {
			return err
		}
		if waitClosed(ctx, c.exited, timeout) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return m.kill(ctx, c, shim)
}

// stopCreated ends a container that does not run yet: its process waits in the guest
// and has nothing to be asked. One that is being started is waited for. It has ended after
// an error too, for its VM may not know it any more; what is left goes with its removal.
func (m *Manager) stopCreated(ctx context.Context, c *container, timeout time.Duration) error {
	leave, err := c.gate.alone(ctx)
	if err != nil {
		return err
	}
	if c.current() != containerCreated {
		leave()
		return m.stopContainer(ctx, c, timeout)
	}
	defer leave()
	if shim := c.pod.running(); shim != nil {
		ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
		defer cancel()
		err = removeFromVM(ctx, shim, c.id)
	}
	m.endContainer(c, end{code: exitKilled, reason: reasonError, message: "stopped before it was started"})
	return err
}

// kill ends the container's processes and waits a bounded time for the exit.
func (m *Manager) kill(ctx context.Context, c *container, shim Shim) error {
	if err := m.signal(ctx, c, shim, sigKill, true); err != nil {
		return err
	}
	if waitClosed(ctx, c.exited, m.cfg.Timeouts.Kill) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("it did not end %s after SIGKILL: %w", m.cfg.Timeouts.Kill, context.DeadlineExceeded)
}

// signal sends a signal; a process that has ended already is not an error.
func (m *Manager) signal(ctx context.Context, c *container, shim Shim, signal int, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	err := shim.Signal(ctx, c.id, signal, all)
	if errdefs.IsFailedPrecondition(err) || err != nil && (isClosed(c.exited) || isGone(ctx, shim, err)) {
		return nil // the exit is recorded, or is about to be
	}
	if err != nil {
		return fmt.Errorf("send signal %d: %w", signal, err)
	}
	return nil
}

// RemoveContainer kills the container if it runs and forgets it. Its log stays. After
// an error it may be called again to finish.
func (m *Manager) RemoveContainer(ctx context.Context, id string) error {
	c, err := m.findContainer(id)
	if err != nil {
		return err
	}
	err = m.besidePodsEnd(ctx, c, func() error {
		leave, err := c.gate.alone(ctx)
		if err != nil {
			return err
		}
		defer leave()
		return m.removeContainer(ctx, c)
	})
	if err != nil {
		return fmt.Errorf("remove container %s: %w", c.id, err)
	}
	return nil
}

// removeContainer is RemoveContainer with the gate held. Every step can be repeated.
func (m *Manager) removeContainer(ctx context.Context, c *container) error {
	if s := c.current(); s == containerRunning || s == containerLost {
		if err := m.stopContainer(ctx, c, 0); err != nil {
			return err
		}
	}
	if err := m.beginRemoval(c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	if shim := c.pod.running(); shim != nil {
		if err := removeFromVM(ctx, shim, c.id); err != nil {
			return err
		}
	}
	if err := m.releaseImages(ctx, c); err != nil {
		return fmt.Errorf("release image: %w", err)
	}
	if err := c.forget(); err != nil {
		return fmt.Errorf("remove record: %w", err)
	}
	m.endOfContainer(c)
	return nil
}

// beginRemoval takes a container to the state that RemoveContainer works in.
func (m *Manager) beginRemoval(c *container) error {
	c.pod.order.Lock()
	defer c.pod.order.Unlock()
	from, err := c.move(containerRemove, nil)
	if from == containerCreated {
		m.tellContainer(c, EventStopped)
	}
	return err
}
