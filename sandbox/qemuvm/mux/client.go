package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/yamux"

	"github.com/porthole-run/porthole/guest/api"
)

// Client opens streams to one guest.
type Client struct {
	session *yamux.Session
	watched *watched
	wg      sync.WaitGroup // the dials and drains that run
}

// New starts the mux on conn, which becomes the Client's. The guest need not read yet.
func New(conn io.ReadWriteCloser) (*Client, error) {
	w := &watched{ReadWriteCloser: conn, guard: guard{r: conn}}
	session, err := yamux.Client(w, api.MuxConfig())
	if err != nil {
		return nil, fmt.Errorf("start mux: %w", err)
	}
	return &Client{session: session, watched: w}, nil
}

// Ready returns when the agent's end of the mux has answered. Close, not a context, ends
// the wait early: yamux's ping takes none.
func (c *Client) Ready() error {
	if _, err := c.session.Ping(); err != nil {
		return c.ended("ping agent", err)
	}
	return nil
}

// Dial opens a stream to a port of the agent. The conn has CloseWrite. Closing it lets
// go of both directions: what the agent still sends is thrown away.
func (c *Client) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	type opened struct {
		stream *yamux.Stream
		err    error
	}
	ch := make(chan opened)
	c.wg.Go(func() {
		// Both steps can wait for a guest that does not read, without a bound of their own.
		s, err := c.session.OpenStream()
		if err == nil {
			if err = api.WritePort(s, port); err != nil {
				_ = s.Close()
			}
		}
		select {
		case ch <- opened{s, err}:
		case <-ctx.Done():
			if err == nil {
				c.drain(s)
			}
		}
	})
	select {
	case o := <-ch:
		if o.err != nil {
			return nil, c.ended(fmt.Sprintf("open stream to port %d", port), o.err)
		}
		return &conn{Conn: o.stream, client: c}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("open stream to port %d: %w", port, ctx.Err())
	}
}

// Close ends all streams and the channel beneath. It may be called again.
func (c *Client) Close() error {
	err := c.session.Close()
	c.wg.Wait()
	return err
}

// Done is closed when the mux has ended.
func (c *Client) Done() <-chan struct{} { return c.session.CloseChan() }

// Err returns the protocol error that the guest made, if it made one.
func (c *Client) Err() error { return c.watched.violation() }

func (c *Client) ended(op string, err error) error {
	if v := c.Err(); v != nil {
		err = v
	}
	return fmt.Errorf("%s: %w: %w", op, errdefs.ErrUnavailable, err)
}

// drain ends our direction of s and reads until the guest ends its own, so that a guest
// that still writes is not left waiting for a window for ever.
func (c *Client) drain(s net.Conn) {
	_ = s.Close()
	_, _ = io.Copy(io.Discard, s)
}

// conn is a stream with the meaning of Close that net.Conn has; yamux's own ends just
// the direction to the guest.
type conn struct {
	net.Conn
	client *Client

	read sync.Mutex // held by who reads

	mu     sync.Mutex // guards closed
	closed bool
}

// CloseWrite tells the agent that nothing more comes.
func (c *conn) CloseWrite() error { return c.Conn.Close() }

func (c *conn) Read(b []byte) (int, error) {
	c.read.Lock()
	defer c.read.Unlock()
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b)
	if err != nil && c.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close lets go of both directions and returns at once.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes a reader
	err := c.Conn.Close()
	select {
	case <-c.client.Done():
		return err
	default:
	}
	c.client.wg.Go(func() {
		c.read.Lock()
		defer c.read.Unlock()
		_ = c.Conn.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, c.Conn)
	})
	return err
}

// watched passes the guest's bytes through the guard and remembers its verdict, which
// yamux does not tell.
type watched struct {
	io.ReadWriteCloser
	guard guard // used by yamux's one reader

	mu  sync.Mutex // guards err
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.guard.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	return n, err
}

func (w *watched) violation() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
