package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/porthole-run/porthole/guest/api"
)

// headTimeout bounds how long a new stream may take to say its port.
const headTimeout = 10 * time.Second

// Conn is a connection from the host. Close ends both directions and never waits for
// the host; CloseWrite ends the direction to the host.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Handler serves one connection and closes it. It runs on a goroutine of its own.
type Handler func(ctx context.Context, port uint32, c Conn)

// ServeMux runs the agent's end of a mux on rw until the session ends, and returns when
// all handlers have. Their context ends with the session. The error says why it ended;
// it is nil when the host hung up. ServeMux closes rw.
func ServeMux(ctx context.Context, rw io.ReadWriteCloser, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	session, err := yamux.Server(rw, api.MuxConfig())
	if err != nil {
		cancel()
		rw.Close()
		return fmt.Errorf("start mux: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			session.Close()
			if errors.Is(err, io.EOF) || errors.Is(err, yamux.ErrSessionShutdown) {
				return nil
			}
			return fmt.Errorf("serve mux: %w", err)
		}
		wg.Go(func() {
			c := &muxConn{Stream: stream}
			c.SetReadDeadline(time.Now().Add(headTimeout))
			port, err := api.ReadPort(c)
			if err != nil {
				c.Close()
				return
			}
			c.SetReadDeadline(time.Time{})
			h(ctx, port, c)
		})
	}
}

// muxConn is a stream whose Close ends both directions. A yamux stream has no way to
// refuse further bytes: a peer that still sends would wait for window for ever, so what
// it sends is thrown away until it ends its direction too.
type muxConn struct {
	*yamux.Stream
	closed  atomic.Bool
	reading sync.Mutex // held by a Read in flight
}

func (c *muxConn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.Stream.Read(b)
}

// Broken implements stdio.Breaker: the session has ended, and the stream with it.
func (c *muxConn) Broken() bool { return c.Stream.Session().IsClosed() }

func (c *muxConn) CloseWrite() error { return c.Stream.Close() }

func (c *muxConn) Close() error {
	err := c.Stream.Close()
	if c.closed.Swap(true) {
		return err
	}
	// The goroutine ends when the host ends its direction, or the session ends. Nobody
	// waits for it: it holds nothing but the stream.
	go func() {
		c.Stream.SetReadDeadline(time.Unix(1, 0)) // wakes a Read in flight
		// Once it is out, none touches the stream any more: closed is set. The lock must
		// not be kept, or a further Read would wait here for the host.
		c.reading.Lock()
		//lint:ignore SA2001 it waits for the Read in flight
		c.reading.Unlock()
		c.Stream.SetReadDeadline(time.Time{})
		io.Copy(io.Discard, struct{ io.Reader }{c.Stream})
	}()
	return err
}
