//go:build linux

package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/agent/stdio"
	"github.com/porthole-run/porthole/guest/agent/transport"
	"github.com/porthole-run/porthole/guest/api"
)

// dialTime bounds a connection to a pod's loopback.
const dialTime = 10 * time.Second

// serveForward joins a connection from the host to a TCP port of a pod.
func (a *Agent) serveForward(ctx context.Context, c transport.Conn) {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(headerTime))
	podID, port, err := api.ReadForwardHeader(c)
	if err != nil {
		return
	}
	c.SetReadDeadline(time.Time{})
	target, err := a.dialPod(ctx, podID, port)
	if err != nil {
		api.WriteForwardReply(c, fmt.Sprintf("connect to port %d: %v", port, err))
		return
	}
	defer target.Close()
	if api.WriteForwardReply(c, "") != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { target.Close() })
	defer stop()
	stdio.Relay(c, target)
}

func (a *Agent) dialPod(ctx context.Context, podID string, port uint16) (stdio.Stream, error) {
	p, err := a.pod(podID)
	if err != nil {
		return nil, err
	}
	p.ready.RLock()
	defer p.ready.RUnlock()
	if p.pause == nil {
		return nil, fmt.Errorf("pod %q is gone: %w", podID, errdefs.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := a.cfg.Namespaces.Dial(ctx, p.pause.PID(), port)
	if err != nil {
		return nil, err
	}
	return c, nil
}
