package shim

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// forward relays the session's stream to a TCP port on a pod's loopback until both
// directions have ended, one has broken, or ctx ends.
func (s *Server) forward(ctx context.Context, e *session, podID string, port uint32) error {
	if port == 0 || port > 65535 {
		return fmt.Errorf("port %d: %w", port, errdefs.ErrInvalidArgument)
	}
	if _, err := s.pod(podID); err != nil {
		return err
	}
	conn, err := s.guest.Forward(ctx, podID, uint16(port))
	if err != nil {
		return err
	}
	relay(ctx, e.streams[api.StreamForward], conn)
	return ctx.Err()
}

// relay copies both ways, keeping half-closes, and closes both in the end.
func relay(ctx context.Context, a, b net.Conn) {
	closeBoth := func() {
		a.Close()
		b.Close()
	}
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	defer closeBoth()
	var wg sync.WaitGroup
	wg.Go(func() { half(a, b, closeBoth) })
	wg.Go(func() { half(b, a, closeBoth) })
	wg.Wait()
}

// half copies from src to dst, then closes that half of dst; broken is called when the
// other direction is of no use any more.
func half(dst, src net.Conn, broken func()) {
	if _, err := io.Copy(dst, src); err != nil {
		broken()
		return
	}
	if err := closeWrite(dst); err != nil {
		broken()
	}
}
