package shim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// clientSession is the daemon's end of a session: its streams, opened before the call
// that names them.
type clientSession struct {
	c     *Client
	id    api.SessionID
	conns map[api.StreamKind]net.Conn
}

func (c *Client) openSession(ctx context.Context, kinds ...api.StreamKind) (*clientSession, error) {
	s := &clientSession{c: c, conns: map[api.StreamKind]net.Conn{}}
	rand.Read(s.id[:]) // never fails
	for _, k := range kinds {
		conn, err := localsock.Dial(ctx, c.folder.streams())
		if err == nil {
			s.conns[k] = conn
			err = api.WriteStreamHeader(conn, s.id, k)
		}
		if err != nil {
			s.close()
			select {
			case <-c.done:
				return nil, c.gone()
			default:
			}
			return nil, fmt.Errorf("open stream to shim: %w: %w", err, errdefs.ErrUnavailable)
		}
	}
	return s, nil
}

func (s *clientSession) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

func (s *clientSession) wire() *api.Session {
	return &api.Session{
		Id:     s.id[:],
		Stdin:  s.conns[api.StreamStdin] != nil,
		Stdout: s.conns[api.StreamStdout] != nil,
		Stderr: s.conns[api.StreamStderr] != nil,
	}
}

// run makes the session's call and returns its error. When ctx ends it cancels the
// session, gives the shim a moment to take that in, and returns ctx's error.
func (s *clientSession) run(ctx context.Context, do func(ctx context.Context) error) error {
	result := make(chan error, 1)
	cctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() { result <- do(cctx) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	bounded, stop := context.WithTimeout(cctx, cancelTimeout)
	defer stop()
	// Whether or not the shim still knew the session, its end is what is waited for.
	_, err := call(bounded, s.c, s.c.api.Cancel, &api.CancelRequest{SessionId: s.id[:]})
	if err == nil || errdefs.IsNotFound(err) {
		select {
		case <-result:
		case <-bounded.Done():
		}
	}
	return ctx.Err()
}

// Exec implements sandbox.Shim. A read of s.Stdin may be under way when it returns.
func (c *Client) Exec(ctx context.Context, containerID string, e sandbox.ExecSpec, s sandbox.Streams) (int, error) {
	exitCode := -1
	err := c.stdio(ctx, e.Terminal, s, func(ctx context.Context, cs *clientSession) error {
		r, err := call(ctx, c, c.api.Exec, &api.ExecRequest{
			Session: cs.wire(), ContainerId: containerID, Args: e.Args, Terminal: e.Terminal,
		})
		if err == nil {
			exitCode = int(r.GetExitCode())
		}
		return err
	})
	if err != nil {
		return -1, err
	}
	return exitCode, nil
}

// Attach implements sandbox.Shim. A read of s.Stdin may be under way when it returns.
func (c *Client) Attach(ctx context.Context, containerID string, s sandbox.Streams) error {
	return c.stdio(ctx, true, s, func(ctx context.Context, cs *clientSession) error {
		_, err := call(ctx, c, c.api.Attach, &api.AttachRequest{Session: cs.wire(), ContainerId: containerID})
		return err
	})
}

// stdio runs a call with the caller's streams joined to a session's.
func (c *Client) stdio(ctx context.Context, resize bool, s sandbox.Streams, do func(context.Context, *clientSession) error) error {
	var kinds []api.StreamKind
	if s.Stdin != nil {
		kinds = append(kinds, api.StreamStdin)
	}
	if s.Stdout != nil {
		kinds = append(kinds, api.StreamStdout)
	}
	if s.Stderr != nil {
		kinds = append(kinds, api.StreamStderr)
	}
	cs, err := c.openSession(ctx, kinds...)
	if err != nil {
		return err
	}
	defer cs.close()
	if in := cs.conns[api.StreamStdin]; in != nil {
		go func() { // ends with the caller's reader, or with its next read after the session
			// Input that breaks off is not at its end: the process must not take it for all.
			// Who reads it for the client ends the call then.
			if _, err := io.Copy(in, s.Stdin); err == nil {
				closeWrite(in)
			}
		}()
	}
	var outs sync.WaitGroup
	copyOut := func(dst io.Writer, src net.Conn) {
		if src == nil {
			return
		}
		outs.Go(func() {
			if _, err := io.Copy(dst, src); err != nil {
				io.Copy(io.Discard, src) // a caller that takes no more holds up nobody
			}
		})
	}
	copyOut(s.Stdout, cs.conns[api.StreamStdout])
	copyOut(s.Stderr, cs.conns[api.StreamStderr])

	over := make(chan struct{})
	var resizes sync.WaitGroup
	if resize && s.Resize != nil {
		resizes.Go(func() { cs.resizes(ctx, s.Resize, over) })
	}
	err = cs.run(ctx, func(ctx context.Context) error { return do(ctx, cs) })
	close(over)
	resizes.Wait()
	if ctx.Err() != nil {
		cs.close()
	}
	outs.Wait()
	return err
}

// resizes passes on window sizes until the session is over.
func (s *clientSession) resizes(ctx context.Context, sizes <-chan sandbox.Size, over <-chan struct{}) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			rctx, cancel := context.WithTimeout(ctx, cancelTimeout)
			// A size that comes too late for its process is of no use to anyone.
			_, _ = call(rctx, s.c, s.c.api.Resize, &api.ResizeRequest{
				SessionId: s.id[:], Width: uint32(size.Width), Height: uint32(size.Height),
			})
			cancel()
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// PortForward implements sandbox.Shim. It closes conn in the end.
func (c *Client) PortForward(ctx context.Context, podID string, port uint16, conn io.ReadWriteCloser) error {
	defer conn.Close()
	cs, err := c.openSession(ctx, api.StreamForward)
	if err != nil {
		return err
	}
	defer cs.close()
	stream := cs.conns[api.StreamForward]
	var down sync.WaitGroup
	go func() { // ends with conn, which is closed on return
		io.Copy(stream, conn)
		closeWrite(stream)
	}()
	down.Go(func() {
		if _, err := io.Copy(conn, stream); err != nil {
			stream.Close()
		}
		closeWrite(conn)
	})
	err = cs.run(ctx, func(ctx context.Context) error {
		_, err := call(ctx, c, c.api.PortForward, &api.PortForwardRequest{
			Session: cs.wire(), PodId: podID, Port: uint32(port),
		})
		return err
	})
	if ctx.Err() != nil {
		stream.Close()
		conn.Close()
	}
	down.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return nil // one end closed
	}
	return err
}

const (
	cancelTimeout = 5 * time.Second
	askTimeout    = 5 * time.Second
)
