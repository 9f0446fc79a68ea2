package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// lateLauncher's shims make containers but their callers hear that they gave up.
type lateLauncher struct{ sandbox.Launcher }

type lateShim struct{ sandbox.Shim }

func (l lateLauncher) Launch(ctx context.Context, c sandbox.ShimConfig) (sandbox.Shim, error) {
	s, err := l.Launcher.Launch(ctx, c)
	return lateShim{s}, err
}

func (s lateShim) CreateContainer(ctx context.Context, c sandbox.ContainerSetup) (sandbox.ContainerCreated, error) {
	if _, err := s.Shim.CreateContainer(ctx, c); err != nil {
		return sandbox.ContainerCreated{}, err
	}
	return sandbox.ContainerCreated{}, context.Canceled
}

func TestCreateContainerGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		c := config(t, n, t.TempDir())
		c.Launcher = lateLauncher{c.Launcher}
		m, err := sandbox.New(t.Context(), c)
		must(t, err)
		defer m.Close()
		pod := mustRun(t, m, podConfig("p"))
		before := n.String()
		if _, err := m.CreateContainer(t.Context(), pod, containerConfig("c")); !errors.Is(err, context.Canceled) {
			t.Errorf("CreateContainer = %v, want Canceled", err)
		}
		if got := n.String(); got != before {
			t.Errorf("left:\n%s\nwant\n%s", got, before)
		}
	})
}

// TestStopPodGivenUp ends the caller's context at each call that StopPod makes.
func TestStopPodGivenUp(t *testing.T) {
	for _, at := range []string{"Signal", "Shutdown", "Detach", "ScratchRemove"} {
		t.Run(at, func(t *testing.T) {
			run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
				pod := mustRun(t, m, podConfig("p"))
				must(t, m.StartContainer(t.Context(), mustCreate(t, m, pod, containerConfig("c"))))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				n.OnCall(func(call string) {
					if call == at {
						cancel()
					}
				})
				must(t, m.StopPod(ctx, pod))
				if ctx.Err() == nil {
					t.Errorf("StopPod made no call of %s: %v", at, n.TakeCalls())
				}
				n.OnCall(nil)
				must(t, m.RemovePod(t.Context(), pod))
			})
		})
	}
}

// TestStopPodShimCannotBeAsked stops a pod whose shim speaks another protocol.
func TestStopPodShimCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, root := sandboxtest.New(), t.TempDir()
		m := open(t, n, root)
		pod := mustRun(t, m, podConfig("p"))
		n.Fail("Open", fmt.Errorf("shim speaks version 77: %w", errdefs.ErrFailedPrecondition))
		m = restart(t, m, n, root, func() {})
		defer m.Close()
		if p := getPod(t, m, pod); p.State != sandbox.PodNotReady {
			t.Errorf("the pod is %s", p.State)
		}
		must(t, m.StopPod(t.Context(), pod))
		if got := n.String(); got != "" {
			t.Errorf("left:\n%s", got)
		}
		must(t, m.RemovePod(t.Context(), pod))
	})
}

// deafLauncher's VMs do not come up.
type deafLauncher struct{ sandbox.Launcher }

func (deafLauncher) Launch(ctx context.Context, _ sandbox.ShimConfig) (sandbox.Shim, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("wait for shim: %w", ctx.Err())
}

// TestRunPodOverdue: an error tells the node's bound of a launch from the caller's.
func TestRunPodOverdue(t *testing.T) {
	const bound = "did not answer within 1m30s"
	for _, tt := range []struct {
		name   string
		caller time.Duration
		want   bool
	}{{"node", time.Hour, true}, {"caller", time.Minute, false}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := sandboxtest.New()
				c := config(t, n, t.TempDir())
				c.Launcher, c.Timeouts.Launch = deafLauncher{c.Launcher}, 90*time.Second
				m, err := sandbox.New(t.Context(), c)
				must(t, err)
				defer m.Close()
				ctx, cancel := context.WithTimeout(t.Context(), tt.caller)
				defer cancel()
				_, err = m.RunPod(ctx, podConfig("p"))
				if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), bound) != tt.want {
					t.Errorf("RunPod = %v, want %q in it: %v", err, bound, tt.want)
				}
			})
		})
	}
}
