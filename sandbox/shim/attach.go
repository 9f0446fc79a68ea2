package shim

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// attach joins the session's streams to those of a container's process, until the process
// has exited, the client's ends are gone, or ctx ends. A client that falls too far behind
// is dropped with a ResourceExhausted error.
func (s *Server) attach(ctx context.Context, e *session, containerID string) error {
	c, err := s.container(containerID)
	if err != nil {
		return err
	}
	c.mu.Lock()
	stdin, stdout, stderr, exit := c.stdin, c.stdout, c.stderr, c.exit
	c.mu.Unlock()
	if exit != nil {
		return fmt.Errorf("attach to container %s: it has exited: %w", containerID, errdefs.ErrFailedPrecondition)
	}
	if stdout == nil {
		return fmt.Errorf("attach to container %s: it is not yet created: %w", containerID, errdefs.ErrFailedPrecondition)
	}
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer s.sessions.closeStreams(e)
	defer cancel()

	over := make(chan error, 3)
	taps := s.tapOutputs(&workers, over, []tapped{
		{stdout, e.streams[api.StreamStdout]},
		{stderr, e.streams[api.StreamStderr]},
	})
	defer func() {
		for _, t := range taps {
			t.out.remove(t.tap)
			t.tap.finish(nil)
		}
	}()
	// After the outputs are joined: what a program prints at a new size is seen.
	if c.terminal {
		s.sessions.setResize(e, func(width, height uint16) {
			if err := s.guest.ResizeTTY(ctx, containerID, "", width, height); err != nil && ctx.Err() == nil {
				s.log.DebugContext(ctx, "terminal was not resized", logkey.ContainerID, containerID, logkey.Error, err)
			}
		})
	}
	if in := e.streams[api.StreamStdin]; in != nil && stdin != nil {
		if c.stdinOnce {
			defer stdin.closeWrite()
		}
		workers.Go(func() {
			err := stdin.copyFrom(ctx, in)
			if err == nil && c.stdinOnce {
				stdin.closeWrite()
			}
			if len(taps) == 0 {
				over <- nil
			}
		})
	} else if len(taps) == 0 {
		return nil
	}
	for left := max(len(taps), 1); left > 0; left-- {
		select {
		case err := <-over:
			if err != nil {
				return fmt.Errorf("attach to container %s: %w", containerID, err)
			}
		case <-c.exited:
			return finishTaps(ctx, taps)
		case <-c.gone:
			return nil
		case <-s.ending:
			return fmt.Errorf("attach to container %s: VM has ended: %w", containerID, errdefs.ErrUnavailable)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

type tapped struct {
	out  *output
	conn net.Conn
}

type joined struct {
	out *output
	tap *tap
}

// tapOutputs joins clients' connections to outputs; each tap sends its end to over.
func (s *Server) tapOutputs(wg *sync.WaitGroup, over chan<- error, want []tapped) []joined {
	var out []joined
	for _, w := range want {
		if w.conn == nil {
			continue
		}
		if w.out == nil { // with a terminal there is no stderr
			w.conn.Close()
			continue
		}
		t := newTap(w.conn)
		wg.Go(func() { over <- t.run() })
		w.out.add(t)
		out = append(out, joined{w.out, t})
	}
	return out
}

// finishTaps lets clients have the rest of the output after the exit.
func finishTaps(ctx context.Context, taps []joined) error {
	for _, t := range taps {
		t.out.remove(t.tap)
		t.tap.finish(nil)
	}
	for _, t := range taps {
		select {
		case <-t.tap.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
