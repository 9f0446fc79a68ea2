package streaming

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// pongInterval is how often a client hears of us while we cannot answer its pings.
// Kubernetes' client sends one every 5 s and gives up after a minute.
const pongInterval = 10 * time.Second

// maxResize bounds a message that tells a terminal's size.
const maxResize = 1024

// channels are the streams of an exec or an attach on one WebSocket.
type channels struct {
	ws     *websocket.Conn
	closes bool // the protocol can close a stream
	idle   time.Duration
	stdin  *io.PipeWriter // nil: not wanted
	sizes  chan remotecommand.TerminalSize
	buf    []byte      // of the reader
	stuck  atomic.Bool // the reader waits for the process to take its input

	mu sync.Mutex // held while a message is written
}

// serveChannels upgrades a connection and runs one Executor call on it.
func (s *Server) serveChannels(w http.ResponseWriter, r *http.Request, protocol string, q Request, run runFunc) {
	ws, err := openWebSocket(w, r, protocol)
	if err != nil {
		return
	}
	c := &channels{
		ws: ws, closes: protocol == channelsV5, idle: s.config.IdleTimeout,
		sizes: make(chan remotecommand.TerminalSize, 16),
		buf:   make([]byte, webSocketBuffer),
	}
	b := bareStreams{stdout: c.output(remotecommand.StreamStdOut), stderr: c.output(remotecommand.StreamStdErr), resize: c.sizes}
	ctx, cancel := context.WithCancel(r.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	if q.Stdin {
		pr, pw := io.Pipe()
		b.stdin, c.stdin = pr, pw
		defer pr.Close()
	}
	defer ws.Close() // ends receive, as does closing stdin
	defer cancel()
	tasks.Go(func() {
		defer cancel() // a client that has closed wants no more
		c.receive()
	})
	tasks.Go(func() { c.keepAlive(ctx, s.pongInterval) })
	// As from the library, an empty message says that it begins.
	if _, err := c.output(firstOutput(q)).Write(nil); err == nil {
		err = s.call(ctx, q, b, run)
		c.tell(err)
	}
}

// firstOutput is the lowest stream that carries anything to the client.
func firstOutput(q Request) byte {
	switch {
	case q.Stdout:
		return remotecommand.StreamStdOut
	case q.Stderr:
		return remotecommand.StreamStdErr
	}
	return remotecommand.StreamErr
}

// receive hands on what the client sends until it has no more to say. An end that is not
// a closed stream is an error to who reads stdin: half of an input must not pass for
// all of it.
func (c *channels) receive() {
	defer close(c.sizes)
	for {
		c.moved()
		_, m, err := c.ws.NextReader()
		if err == nil {
			err = c.message(m)
		}
		if err != nil {
			if c.stdin != nil {
				c.stdin.CloseWithError(cutShort(err))
			}
			return
		}
	}
}

// cutShort makes an error of how a connection ended, never io.EOF.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// message hands on one message; an error is the connection's.
func (c *channels) message(m io.Reader) error {
	var head [2]byte
	if _, err := io.ReadFull(m, head[:1]); err != nil {
		return ignoreEOF(err) // an empty message says nothing
	}
	switch {
	case c.closes && head[0] == remotecommand.StreamClose:
		if _, err := io.ReadFull(m, head[1:]); err != nil {
			return ignoreEOF(err)
		}
		if head[1] == remotecommand.StreamStdIn && c.stdin != nil {
			c.stdin.Close()
		}
	case head[0] == remotecommand.StreamStdIn && c.stdin != nil:
		c.stuck.Store(true)
		defer c.stuck.Store(false)
		if _, err := io.CopyBuffer(c.stdin, m, c.buf); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return err
		}
	case head[0] == remotecommand.StreamResize:
		b, err := io.ReadAll(io.LimitReader(m, maxResize))
		if err != nil {
			return err
		}
		var size remotecommand.TerminalSize
		if json.Unmarshal(b, &size) == nil {
			c.resize(size)
		}
	}
	return nil // what is left of the message, or is for no stream, is passed over
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// resize keeps a size for who wants it. When nobody does, the newest are kept.
func (c *channels) resize(size remotecommand.TerminalSize) {
	for {
		select {
		case c.sizes <- size:
			return
		default:
		}
		select {
		case <-c.sizes:
		default:
		}
	}
}

// keepAlive lets the client know that we are there while a process takes no input: pings
// behind that input are answered only when it has gone.
func (c *channels) keepAlive(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if c.stuck.Load() {
				// A connection that takes no pong ends by other means.
				_ = c.ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(interval))
			}
		}
	}
}

// moved puts off the end of an idle connection.
func (c *channels) moved() {
	_ = c.ws.NetConn().SetReadDeadline(time.Now().Add(c.idle))
}

// tell sends how the call ended, and closes.
func (c *channels) tell(err error) {
	// A message that the client does not take is in the way no longer than this.
	_ = c.ws.NetConn().SetWriteDeadline(time.Now().Add(farewellTimeout))
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.ws.SetWriteDeadline(time.Now().Add(farewellTimeout))
	if c.send(remotecommand.StreamErr, endStatus(err)) == nil {
		_ = sayGoodbye(c.ws)
	}
}

// send writes one message. It is called with mu held.
func (c *channels) send(number byte, p []byte) error {
	m, err := c.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	for _, b := range [][]byte{{number}, p} {
		if _, err := m.Write(b); err != nil {
			return errors.Join(err, m.Close())
		}
	}
	return m.Close()
}

// output is a stream to the client.
func (c *channels) output(number byte) channelWriter { return channelWriter{c, number} }

type channelWriter struct {
	c      *channels
	number byte
}

// Write implements io.Writer. It writes a message even when p is empty.
func (w channelWriter) Write(p []byte) (int, error) {
	for n := 0; ; {
		part := p[n:min(len(p), n+webSocketBuffer-1)]
		if err := w.write(part); err != nil {
			return n, err
		}
		if n += len(part); n == len(p) {
			return n, nil
		}
	}
}

func (w channelWriter) write(p []byte) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.c.moved()
	_ = w.c.ws.SetWriteDeadline(time.Now().Add(w.c.idle)) // is no system call
	return w.c.send(w.number, p)
}

// Close implements io.Closer. The server has no word for the end of one output.
func (channelWriter) Close() error { return nil }
