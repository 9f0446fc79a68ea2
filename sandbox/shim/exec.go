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
	x := &execution{id: hex.EncodeToString(e.id[:]), containerID: containerID, spec: spec, streams: g}
	var relays sync.WaitGroup
	defer func() {
		g.Close()
		s.sessions.closeStreams(e)
		relays.Wait()
	}()
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
	exit, err := s.runExec(ctx, e, x)
	if err != nil {
		if x.begun || ctx.Err() != nil {
			s.removeExec(ctx, x)
		}
		return 0, err
	}
	for _, o := range outs {
		if o != nil {
			o.drain(ctx, 0)
		}
	}
	if ctx.Err() != nil {
		s.removeExec(ctx, x)
		return 0, ctx.Err()
	}
	// The answer need not wait for it. It ends before Close does, which waits for the call first.
	s.wg.Go(func() { s.removeExec(ctx, x) })
	return exit.Code, nil
}

// execution is one exec in the guest.
type execution struct {
	id, containerID string
	spec            sandbox.ExecSpec
	streams         *guest.Streams
	begun           bool // the guest has said that it runs
}

// runExec runs a process in the guest until it has exited. After an error it may run, also when it
// is not known to have begun.
func (s *Server) runExec(ctx context.Context, e *session, x *execution) (guest.Exit, error) {
	if !x.spec.Terminal {
		return s.guest.ExecWait(ctx, x.containerID, x.id, x.spec.Args, x.streams.IDs)
	}
	// A terminal's size may change as soon as it is there.
	if _, err := s.guest.Exec(ctx, x.containerID, x.id, x.spec.Args, x.streams.IDs); err != nil {
		return guest.Exit{}, err
	}
	x.begun = true
	s.sessions.setResize(e, func(width, height uint16) {
		if err := s.guest.ResizeTTY(ctx, x.containerID, x.id, width, height); err != nil && ctx.Err() == nil {
			s.log.DebugContext(ctx, "terminal was not resized", logkey.ContainerID, x.containerID, logkey.Error, err)
		}
	})
	return s.guest.Wait(ctx, x.containerID, x.id)
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
func (s *Server) removeExec(ctx context.Context, x *execution) {
	uctx, cancel := undoContext(ctx)
	defer cancel()
	err := s.guest.RemoveExec(uctx, x.containerID, x.id)
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsUnavailable(err) {
		s.log.WarnContext(ctx, "exec was not removed", logkey.ContainerID, x.containerID, logkey.Error, err)
	}
}

// closeStreams closes the streams of a claimed session.
func (s *sessions) closeStreams(e *session) {
	for _, c := range e.streams {
		c.Close()
	}
}
