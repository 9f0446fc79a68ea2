package streaming

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// lingerTime bounds how long a closed connection waits for the client to close too.
const lingerTime = time.Second

// listener wraps the connections it accepts.
type listener struct {
	net.Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, server: l.server}
	if !l.server.track(c) {
		nc.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// conn notices that its peer went away. After an upgrade nothing else would: net/http no
// longer watches the connection, and the library hands its handlers the request's
// context, which then lasts as long as they do.
type conn struct {
	net.Conn
	server *Server
	gone   context.CancelFunc // set before the first Read, by the server's ConnContext

	closeOnce sync.Once
}

// Read implements net.Conn. A passed deadline does not mean that the peer is gone:
// net/http sets one to take the connection back from its own reader.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone()
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.gone()
	}
	return n, err
}

// Close ends the sending side and closes the connection when the client has closed its
// own, or soon after. Closing at once with input unread would make the kernel reset the
// connection, and the client lose the end of the output and the exit code.
func (c *conn) Close() error {
	c.closeOnce.Do(func() {
		c.gone()
		half, ok := c.Conn.(interface{ CloseWrite() error })
		if !ok || half.CloseWrite() != nil {
			c.abort()
			return
		}
		ok = c.server.linger(func() {
			// A deadline would not do: who still reads the connection may put it off.
			cut := time.AfterFunc(lingerTime, func() { c.Conn.Close() })
			defer cut.Stop()
			_, _ = io.Copy(io.Discard, c.Conn)
			c.abort()
		})
		if !ok {
			c.abort()
		}
	})
	return nil
}

// abort closes the connection at once.
func (c *conn) abort() {
	c.Conn.Close()
	c.server.untrack(c)
}

// watch calls gone when the client has closed the connection, until ctx ends. Read alone
// does not tell while the library does not read: it stops when the process does not
// take its input. When more input waits than the kernel buffers, even the kernel learns
// of the end only when it gives up sending the rest, minutes later.
func (c *conn) watch(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if peerClosed(c.Conn) {
				c.gone()
				return
			}
		}
	}
}

type connKey struct{}

// connContext gives requests a context that ends with their connection, and that knows
// it. It is the http.Server's ConnContext.
func connContext(ctx context.Context, nc net.Conn) context.Context {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c := nc.(*conn)
	ctx, c.gone = context.WithCancel(ctx)
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }
