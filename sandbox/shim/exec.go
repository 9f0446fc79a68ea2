package shim

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// exec runs a process in a container with the session's streams, and returns its exit
// code once its output was delivered. When ctx ends it kills the process.
func (s *Server) exec(ctx context.Context, e *session, containerID string, spec sandbox.ExecSpec) (int, error) {
	if len(spec.Args) == 0 {
		return 0, fmt.Errorf("no command: %w", errdefs.ErrInvalidArgument)
	}
	if _, err := s.container(containerID); err != nil {
		return 0, err
	}
	cfg := guest.StreamsConfig{
		Stdin:    e.streams[api.StreamStdin] != nil,
		Stdout:   e.streams[api.StreamStdout] != nil,
		Stderr:   e.streams[api.StreamStderr] != nil,
		Terminal: spec.Terminal,
	}
	if spec.Terminal {
		cfg.Width, cfg.Height = s.sessions.firstSize(ctx, e)
	}
	g, err := s.guest.OpenStreams(ctx, cfg)
	if err != nil {
		return 0, err
	}
	execID := hex.EncodeToString(e.id[:])
	var relays sync.WaitGroup
	defer func() {
		g.Close()
		s.sessions.closeStreams(e)
		relays.Wait()
	}()
	if _, err := s.guest.Exec(ctx, containerID, execID, spec.Args, g.IDs); err != nil {
		if ctx.Err() != nil {
			s.removeExec(ctx, containerID, execID) // it may have begun nevertheless
		}
		return 0, err
	}
	defer s.removeExec(ctx, containerID, execID)
	if spec.Terminal {
		s.sessions.setResize(e, func(width, height uint16) {
			if err := s.guest.ResizeTTY(ctx, containerID, execID, width, height); err != nil && ctx.Err() == nil {
				s.log.DebugContext(ctx, "terminal was not resized", logkey.ContainerID, containerID, logkey.Error, err)
			}
		})
	}
	if g.Stdin != nil {
		in := e.streams[api.StreamStdin]
		relays.Go(func() {
			io.Copy(g.Stdin, in) // whichever end is gone, the other learns it from the close
			closeWrite(g.Stdin)
		})
	}
	outs := []*output{
		relayOutput(&relays, g.Stdout, e.streams[api.StreamStdout]),
		relayOutput(&relays, g.Stderr, e.streams[api.StreamStderr]),
	}
	exit, err := s.guest.Wait(ctx, containerID, execID)
	if err != nil {
		return 0, err
	}
	for _, o := range outs {
		if o != nil {
			o.drain(ctx, 0)
		}
	}
	return exit.Code, ctx.Err()
}

// relayOutput copies an exec's output straight to its client: that one may be slow, for
// it holds up nothing but its own process.
func relayOutput(wg *sync.WaitGroup, src, dst net.Conn) *output {
	if src == nil || dst == nil {
		return nil
	}
	o := newOutput(&untilGone{dst: dst})
	wg.Go(func() {
		o.run(src)
		dst.Close()
	})
	return o
}

// untilGone discards what is written once its client is gone.
type untilGone struct {
	dst  io.Writer
	gone bool
}

func (w *untilGone) Write(p []byte) (int, error) {
	if !w.gone {
		_, err := w.dst.Write(p)
		w.gone = err != nil
	}
	return len(p), nil
}

// removeExec forgets an exec in the guest, and kills its process if it still runs.
func (s *Server) removeExec(ctx context.Context, containerID, execID string) {
	uctx, cancel := undoContext(ctx)
	defer cancel()
	err := s.guest.RemoveExec(uctx, containerID, execID)
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsUnavailable(err) {
		s.log.WarnContext(ctx, "exec was not removed", logkey.ContainerID, containerID, logkey.Error, err)
	}
}

// closeStreams closes the streams of a claimed session.
func (s *sessions) closeStreams(e *session) {
	for _, c := range e.streams {
		c.Close()
	}
}
