package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

func TestStreams(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node) {
		ctx := t.Context()
		pod := mustRun(t, m, podConfig("p"))
		c := mustCreate(t, m, pod, containerConfig("c"))
		for name, f := range map[string]func() error{
			"exec": func() error {
				_, err := m.Exec(ctx, c, sandbox.ExecSpec{Args: []string{"echo"}}, sandbox.Streams{})
				return err
			},
			"attach": func() error { return m.Attach(ctx, c, sandbox.Streams{}) },
			"reopen": func() error { return m.ReopenContainerLog(ctx, c) },
		} {
			if err := f(); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("%s of a created container = %v, want FailedPrecondition", name, err)
			}
		}
		must(t, m.StartContainer(ctx, c))
		var out bytes.Buffer
		code, err := m.Exec(ctx, c, sandbox.ExecSpec{Args: []string{"echo", "hello"}}, sandbox.Streams{Stdout: &out})
		if code != 0 || err != nil || out.String() != "hello\n" {
			t.Errorf("Exec = %d, %v, output %q; want 0 and hello", code, err, out.String())
		}
		if code, err := m.Exec(ctx, c, sandbox.ExecSpec{Args: []string{"exit3"}}, sandbox.Streams{}); code != 3 || err != nil {
			t.Errorf("Exec = %d, %v; want 3", code, err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := m.Exec(short, c, sandbox.ExecSpec{Args: []string{"hang"}}, sandbox.Streams{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Exec beyond its time = %v, want DeadlineExceeded", err)
		}
		if _, err := m.Exec(ctx, c, sandbox.ExecSpec{}, sandbox.Streams{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Exec of nothing = %v, want InvalidArgument", err)
		}
		out.Reset()
		must(t, m.Attach(ctx, c, sandbox.Streams{Stdin: strings.NewReader("x"), Stdout: &out}))
		if out.String() != "x" {
			t.Errorf("Attach wrote %q, want x", out.String())
		}
		must(t, m.ReopenContainerLog(ctx, c))
		must(t, m.PortForward(ctx, pod, 80, nopConn{&bytes.Buffer{}}))
		if err := m.PortForward(ctx, pod, 0, nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("PortForward to 0 = %v, want InvalidArgument", err)
		}
		must(t, m.StopPod(ctx, pod))
		if err := m.PortForward(ctx, pod, 80, nil); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("PortForward into a stopped pod = %v, want FailedPrecondition", err)
		}
	})
}

type nopConn struct{ *bytes.Buffer }

func (nopConn) Close() error { return nil }
