package guest

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/guest/api"
)

// Streams are the open streams of a process that is yet to be made; nil: not asked for.
// They are the caller's to close. Each also has CloseWrite() error.
type Streams struct {
	Stdin, Stdout, Stderr net.Conn
	// IDs name the streams in the request that follows.
	IDs Stdio
}

// StreamsConfig says which streams to open.
type StreamsConfig struct {
	Stdin, Stdout, Stderr bool
	Terminal              bool
	Width, Height         uint16
}

// OpenStreams opens the streams of a process, side by side and before the request that
// names them, so that a process costs one round trip. On error none is left open.
func (c *Client) OpenStreams(ctx context.Context, cfg StreamsConfig) (*Streams, error) {
	s := &Streams{IDs: Stdio{Terminal: cfg.Terminal, Width: cfg.Width, Height: cfg.Height}}
	g, gctx := errgroup.WithContext(ctx)
	open := func(want bool, id *uint64, conn *net.Conn) {
		if !want {
			return
		}
		*id = c.nextID.Add(1)
		g.Go(func() (err error) {
			*conn, err = c.openStdio(gctx, *id)
			return err
		})
	}
	open(cfg.Stdin, &s.IDs.Stdin, &s.Stdin)
	open(cfg.Stdout, &s.IDs.Stdout, &s.Stdout)
	open(cfg.Stderr && !cfg.Terminal, &s.IDs.Stderr, &s.Stderr)
	if err := g.Wait(); err != nil {
		s.Close()
		return nil, fmt.Errorf("open stream to guest: %w", err)
	}
	return s, nil
}

// Close closes the streams that are open. It may be called again.
func (s *Streams) Close() {
	for _, c := range []net.Conn{s.Stdin, s.Stdout, s.Stderr} {
		if c != nil {
			// The deadline wakes readers of a mux that leaves the other half open; nothing
			// is lost, since who closes wants no more of it.
			c.SetDeadline(time.Unix(1, 0))
			c.Close()
		}
	}
}

func (c *Client) openStdio(ctx context.Context, id uint64) (net.Conn, error) {
	conn, err := c.dialer.Dial(ctx, api.PortStdio)
	if err != nil {
		return nil, err
	}
	stop := interrupt(ctx, conn)
	err = api.WriteStdioHeader(conn, id)
	if stop(); err == nil && ctx.Err() == nil {
		return conn, nil
	}
	conn.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
}

// Forward connects to a TCP port on a pod's loopback. The connection has CloseWrite()
// error. A port where nothing listens is a FailedPrecondition error.
func (c *Client) Forward(ctx context.Context, podID string, port uint16) (net.Conn, error) {
	conn, err := c.dialer.Dial(ctx, api.PortForward)
	if err != nil {
		return nil, fmt.Errorf("open stream to guest: %w", err)
	}
	message, err := forward(ctx, conn, c.inside(podID), port)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && message == "":
		return conn, nil
	case err == nil:
		err = &Error{Text: clean(message, maxErrorText), kind: errdefs.ErrFailedPrecondition}
	default:
		err = fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	conn.Close()
	return nil, fmt.Errorf("forward to port %d: %w", port, err)
}

func forward(ctx context.Context, conn net.Conn, podID string, port uint16) (string, error) {
	stop := interrupt(ctx, conn)
	defer stop()
	if err := api.WriteForwardHeader(conn, podID, port); err != nil {
		return "", err
	}
	return api.ReadForwardReply(conn)
}

// interrupt makes reads and writes of conn fail when ctx ends, until stop is called.
func interrupt(ctx context.Context, conn net.Conn) (stop func()) {
	ended := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0))
		close(ended)
	})
	return func() {
		if !cancel() {
			<-ended
		}
	}
}
