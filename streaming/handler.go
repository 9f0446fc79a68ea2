package streaming

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	utilexec "k8s.io/utils/exec"
)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for kind, serve := range map[string]func(http.ResponseWriter, *http.Request, any){
		kindExec:    s.serveExec,
		kindAttach:  s.serveAttach,
		kindForward: s.servePortForward,
	} {
		h := s.upgrade(kind, serve)
		mux.Handle("GET /"+kind+"/{token}", h)
		mux.Handle("POST /"+kind+"/{token}", h)
	}
	return mux
}

// upgrade finds the request of a URL and serves it on the upgraded connection.
func (s *Server) upgrade(kind string, serve func(http.ResponseWriter, *http.Request, any)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, ok := s.tokens.take(kind, r.PathValue("token"))
		if !ok {
			http.Error(w, "no such URL: it was used, is over a minute old, or was never made", http.StatusNotFound)
			return
		}
		if !s.calls.enter() {
			http.Error(w, errServerClosed.Error(), http.StatusServiceUnavailable)
			return
		}
		defer s.calls.leave()
		hw := &hijackWriter{ResponseWriter: w}
		// The library leaves the connection open when the client does not open its streams.
		defer hw.close()
		ctx, cancel := context.WithCancel(r.Context())
		var watch sync.WaitGroup
		watch.Go(func() { connOf(ctx).watch(ctx, s.watchInterval) })
		defer watch.Wait()
		defer cancel()
		serve(hw, r.WithContext(ctx), request)
	})
}

// runFunc is one Executor call.
type runFunc func(context.Context, Streams) error

func (s *Server) serveExec(w http.ResponseWriter, r *http.Request, request any) {
	q := request.(Request)
	run := func(ctx context.Context, st Streams) error {
		code, err := s.executor.Exec(ctx, q.ContainerID, q.Cmd, st)
		if err == nil && code != 0 {
			err = utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", code), Code: code}
		}
		return err
	}
	if p := webSocketProtocol(r, channelsV5, channelsV4); p != "" {
		s.serveChannels(w, r, p, q, run)
		return
	}
	remotecommand.ServeExec(w, r, s.execFunc(q, run), "", "", q.ContainerID, q.Cmd, q.options(),
		s.config.IdleTimeout, s.config.CreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) serveAttach(w http.ResponseWriter, r *http.Request, request any) {
	q := request.(Request)
	run := func(ctx context.Context, st Streams) error { return s.executor.Attach(ctx, q.ContainerID, st) }
	if p := webSocketProtocol(r, channelsV5, channelsV4); p != "" {
		s.serveChannels(w, r, p, q, run)
		return
	}
	remotecommand.ServeAttach(w, r, s.execFunc(q, run), "", "", q.ContainerID, q.options(),
		s.config.IdleTimeout, s.config.CreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) servePortForward(w http.ResponseWriter, r *http.Request, request any) {
	q := request.(forward)
	ctx := r.Context()
	// The library waits for the client to close the connection, and for nothing else.
	stop := context.AfterFunc(ctx, connOf(ctx).abort)
	defer stop()
	if p := webSocketProtocol(r, tunnelPrefix+portforward.ProtocolV1Name); p != "" {
		tw, inner, err := openTunnel(w, r, p)
		if err != nil {
			return
		}
		defer tw.conn.Close()
		w, r = tw, inner
	}
	portforward.ServePortForward(w, r, forwardFunc(func(port int32, stream io.ReadWriteCloser) error {
		if !s.calls.enterCall() {
			return errServerClosed
		}
		defer s.calls.leaveCall()
		return s.executor.PortForward(ctx, q.podID, uint16(port), forwardConn{stream})
	}), q.podID, "", &portforward.V4Options{Ports: q.ports}, s.config.IdleTimeout, s.config.CreationTimeout, portforward.SupportedProtocols)
}

func (r Request) options() *remotecommand.Options {
	return &remotecommand.Options{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, TTY: r.TTY}
}

// bareStreams are the streams as the library gives them: WebSocket has all, wanted or not.
type bareStreams struct {
	stdin          io.Reader
	stdout, stderr io.WriteCloser
	resize         <-chan remotecommand.TerminalSize
}

// call runs one Executor call between the client's streams.
func (s *Server) call(ctx context.Context, q Request, b bareStreams, run runFunc) error {
	if !s.calls.enterCall() {
		return errServerClosed
	}
	defer s.calls.leaveCall()
	ctx, cancel := context.WithCancel(ctx)
	st := Streams{TTY: q.TTY}
	if q.Stdin {
		st.Stdin = b.stdin
	}
	if q.Stdout && b.stdout != nil {
		st.Stdout = b.stdout
		// The library resets streams at the end; closed before, they keep what they carry.
		defer b.stdout.Close()
	}
	if q.Stderr && b.stderr != nil {
		st.Stderr = b.stderr
		defer b.stderr.Close()
	}
	var relay sync.WaitGroup
	defer relay.Wait()
	defer cancel()
	if q.TTY && b.resize != nil {
		sizes := make(chan Size)
		st.Resize = sizes
		relay.Go(func() { relaySizes(ctx, b.resize, sizes) })
	}
	return run(ctx, st)
}

func relaySizes(ctx context.Context, from <-chan remotecommand.TerminalSize, to chan<- Size) {
	defer close(to)
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-from:
			if !ok {
				return
			}
			select {
			case <-ctx.Done():
				return
			case to <- Size{Width: size.Width, Height: size.Height}:
			}
		}
	}
}

// execFunc is the library's Executor and Attacher.
type execFunc func(context.Context, bareStreams) error

func (s *Server) execFunc(q Request, run runFunc) execFunc {
	return func(ctx context.Context, b bareStreams) error { return s.call(ctx, q, b, run) }
}

func (f execFunc) ExecInContainer(ctx context.Context, _, _, _ string, _ []string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return f(ctx, bareStreams{in, out, err, resize})
}

func (f execFunc) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	return f(ctx, bareStreams{in, out, err, resize})
}

// forwardFunc is the library's PortForwarder. The context that it gets says nothing: the
// library takes a background one.
type forwardFunc func(port int32, stream io.ReadWriteCloser) error

func (f forwardFunc) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return f(port, stream)
}

// forwardConn is the client's end of one forwarded connection.
type forwardConn struct{ io.ReadWriteCloser }

// CloseWrite tells the client that no more will come. For SPDY that is what Close does;
// WebSocket has no word for it, and there the client learns of it at the end.
func (c forwardConn) CloseWrite() error {
	if st, ok := c.ReadWriteCloser.(httpstream.Stream); ok {
		return st.Close()
	}
	return nil
}

// hijackWriter remembers the connection that the library takes over.
type hijackWriter struct {
	http.ResponseWriter
	taken net.Conn
}

// Hijack implements http.Hijacker.
func (w *hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.taken = c
	return c, rw, err
}

// close closes the connection if it was taken over; else net/http still needs it.
func (w *hijackWriter) close() {
	if w.taken != nil {
		w.taken.Close()
	}
}
