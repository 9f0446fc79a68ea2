package streaming

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// openTunnel upgrades a connection to a WebSocket that carries SPDY, and returns what a
// handler of SPDY upgrades needs to serve what comes out of it. It has told the client
// when that fails.
func openTunnel(w http.ResponseWriter, r *http.Request, protocol string) (*tunnelWriter, *http.Request, error) {
	ws, err := openWebSocket(w, r, protocol)
	if err != nil {
		return nil, nil, err
	}
	inner := r.Clone(r.Context())
	inner.Method = http.MethodPost
	inner.Header = http.Header{}
	inner.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	inner.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	inner.Header.Set(httpstream.HeaderProtocolVersion, tunnelled(protocol))
	return &tunnelWriter{header: http.Header{}, conn: &tunnelConn{Conn: ws.NetConn(), ws: ws}}, inner, nil
}

// tunnelWriter answers an upgrade that the client does not see: it has been told already
// with the upgrade to a WebSocket.
type tunnelWriter struct {
	header http.Header
	conn   *tunnelConn
}

// Header implements http.ResponseWriter.
func (w *tunnelWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. It is too late for another answer than the
// upgrade's, so any other ends the connection.
func (w *tunnelWriter) WriteHeader(code int) {
	if code != http.StatusSwitchingProtocols {
		w.conn.Close()
	}
}

// Write implements http.ResponseWriter. Nobody would read a body.
func (w *tunnelWriter) Write(p []byte) (int, error) { return len(p), nil }

// Hijack implements http.Hijacker.
func (w *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// tunnelConn is a connection whose bytes go through the messages of a WebSocket. Where
// one ends means nothing. One may read while one other writes.
type tunnelConn struct {
	net.Conn // for its addresses
	ws       *websocket.Conn
	message  io.Reader // the one being read
	closing  sync.Once
}

// Read implements net.Conn.
func (c *tunnelConn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, m, err := c.ws.NextReader()
			switch {
			case websocket.IsCloseError(err, websocket.CloseNormalClosure):
				return 0, io.EOF
			case err != nil:
				return 0, err
			case kind != websocket.BinaryMessage:
				return 0, fmt.Errorf("a tunnel takes binary messages, got kind %d", kind)
			}
			c.message = m
		}
		n, err := c.message.Read(p)
		if err == io.EOF {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (c *tunnelConn) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn. It says goodbye first.
func (c *tunnelConn) Close() (err error) {
	c.closing.Do(func() {
		_ = sayGoodbye(c.ws)
		err = c.ws.Close()
	})
	return err
}

// SetDeadline implements net.Conn.
func (c *tunnelConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *tunnelConn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *tunnelConn) SetWriteDeadline(t time.Time) error { return c.ws.SetWriteDeadline(t) }
