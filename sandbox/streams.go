package sandbox

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// ReopenContainerLog makes the container's log go on in a new file at the same path,
// after the old one was moved. FailedPrecondition when the container does not run.
func (m *Manager) ReopenContainerLog(ctx context.Context, id string) error {
	shim, c, err := m.runningContainer(id)
	if err != nil {
		return err
	}
	if err := shim.ReopenLog(ctx, c.id); err != nil {
		return fmt.Errorf("reopen log of container %s: %w", c.id, err)
	}
	return nil
}

// Exec runs a further process in a running container and returns its exit code when
// it has ended and its output is delivered. It is killed when ctx ends.
func (m *Manager) Exec(ctx context.Context, containerID string, e ExecSpec, s Streams) (int, error) {
	if len(e.Args) == 0 {
		return 0, fmt.Errorf("command: is empty: %w", errdefs.ErrInvalidArgument)
	}
	shim, c, err := m.runningContainer(containerID)
	if err != nil {
		return 0, err
	}
	code, err := shim.Exec(ctx, c.id, e, s)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.id, err)
	}
	return code, nil
}

// Attach joins the streams of a running container's process until it exits, the
// streams end, or ctx ends.
func (m *Manager) Attach(ctx context.Context, containerID string, s Streams) error {
	shim, c, err := m.runningContainer(containerID)
	if err != nil {
		return err
	}
	if err := shim.Attach(ctx, c.id, s); err != nil {
		return fmt.Errorf("attach to container %s: %w", c.id, err)
	}
	return nil
}

// PortForward relays conn to a TCP port on the loopback of a ready pod until either
// end closes or ctx ends.
func (m *Manager) PortForward(ctx context.Context, podID string, port uint16, conn io.ReadWriteCloser) error {
	if port == 0 {
		return fmt.Errorf("port: is 0: %w", errdefs.ErrInvalidArgument)
	}
	p, err := m.findPod(podID)
	if err != nil {
		return err
	}
	shim, err := p.ready()
	if err != nil {
		return err
	}
	if err := shim.PortForward(ctx, p.id, port, conn); err != nil {
		return fmt.Errorf("forward to port %d of pod sandbox %s: %w", port, p.id, err)
	}
	return nil
}

func (m *Manager) runningContainer(id string) (Shim, *container, error) {
	c, err := m.findContainer(id)
	if err != nil {
		return nil, nil, err
	}
	shim, err := c.shimOfRunning()
	if err != nil {
		return nil, nil, err
	}
	return shim, c, nil
}
