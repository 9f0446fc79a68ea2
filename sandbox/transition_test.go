package sandbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// withContainer runs f with a container of the image in a pod.
func withContainer(t *testing.T, image string, f func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, pod, id string)) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod := mustRun(t, m, podConfig("p"))
		c := containerConfig("c")
		c.Image = image
		f(t, m, n, pod, mustCreate(t, m, pod, c))
	})
}

func wantEnd(t *testing.T, c sandbox.Container, code int, reason string) {
	t.Helper()
	if c.Phase != sandbox.ContainerExited || c.ExitCode != code || c.Reason != reason || c.FinishedAt.IsZero() {
		t.Errorf("container = %s %d %s finished %v (%s), want exited %d %s", c.Phase, c.ExitCode, c.Reason, c.FinishedAt, c.Message, code, reason)
	}
	if c.FinishedAt.Before(c.StartedAt) || c.StartedAt.Before(c.CreatedAt) && !c.StartedAt.IsZero() {
		t.Errorf("times are out of order: %v %v %v", c.CreatedAt, c.StartedAt, c.FinishedAt)
	}
}

func TestContainer_Created_Start(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node, _, c string) {
		must(t, m.StartContainer(t.Context(), c))
		if got := getContainer(t, m, c); got.Phase != sandbox.ContainerRunning || got.StartedAt.IsZero() || !got.FinishedAt.IsZero() {
			t.Errorf("container = %+v, want it running", got)
		}
	})
}

func TestContainer_Running_Start(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node, _, c string) {
		must(t, m.StartContainer(t.Context(), c))
		if err := m.StartContainer(t.Context(), c); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("second StartContainer = %v, want FailedPrecondition", err)
		}
	})
}

func TestContainer_Created_StartFails(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, pod, c string) {
		n.Fail("StartContainer", errors.New("no such file or directory"))
		if err := m.StartContainer(t.Context(), c); err == nil {
			t.Fatal("StartContainer = nil, want an error")
		}
		got := getContainer(t, m, c)
		wantEnd(t, got, 128, "StartError")
		if !strings.Contains(got.Message, "no such file") {
			t.Errorf("Message = %q, want the cause", got.Message)
		}
		if err := m.StartContainer(t.Context(), c); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("StartContainer again = %v, want FailedPrecondition", err)
		}
		if strings.Contains(n.String(), "container") {
			t.Errorf("node holds the container:\n%s", n)
		}
	})
}

func TestContainer_Created_Stop(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node, _, c string) {
		must(t, m.StopContainer(t.Context(), c, time.Minute))
		wantEnd(t, getContainer(t, m, c), 137, "Error")
		must(t, m.StopContainer(t.Context(), c, time.Minute))
	})
}

func TestContainer_Running_Exit(t *testing.T) {
	for name, tt := range map[string]struct {
		exit   sandbox.Exit
		code   int
		reason string
	}{
		"well": {sandbox.Exit{}, 0, "Completed"},
		"ill":  {sandbox.Exit{Code: 3}, 3, "Error"},
		"oom":  {sandbox.Exit{Code: 137, OOMKilled: true}, 137, "OOMKilled"},
	} {
		t.Run(name, func(t *testing.T) {
			withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, _, c string) {
				must(t, m.StartContainer(t.Context(), c))
				time.Sleep(time.Hour)
				x := tt.exit
				x.At = time.Now()
				n.Exit(c, x)
				synctest.Wait()
				got := getContainer(t, m, c)
				wantEnd(t, got, tt.code, tt.reason)
				if !got.FinishedAt.Equal(x.At) {
					t.Errorf("FinishedAt = %v, want %v", got.FinishedAt, x.At)
				}
			})
		})
	}
}

func TestContainer_Running_ExitAtImpossibleTime(t *testing.T) {
	for _, off := range []time.Duration{-1000 * time.Hour, 1000 * time.Hour} {
		withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, _, c string) {
			must(t, m.StartContainer(t.Context(), c))
			time.Sleep(time.Minute)
			n.Exit(c, sandbox.Exit{At: time.Now().Add(off)})
			synctest.Wait()
			got := getContainer(t, m, c)
			wantEnd(t, got, 0, "Completed")
			if got.FinishedAt.After(time.Now()) {
				t.Errorf("FinishedAt = %v is in the future", got.FinishedAt)
			}
		})
	}
}

func TestContainer_Running_Stop(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, _, c string) {
		must(t, m.StartContainer(t.Context(), c))
		start := time.Now()
		must(t, m.StopContainer(t.Context(), c, time.Minute))
		if took := time.Since(start); took > 0 {
			t.Errorf("StopContainer took %v of a container that ends at once", took)
		}
		wantEnd(t, getContainer(t, m, c), 143, "Error")
		if got := n.Signals(c); !cmp.Equal(got, []int{15}) {
			t.Errorf("signals = %v, want 15", got)
		}
	})
}

func TestContainer_Running_StopStubborn(t *testing.T) {
	withContainer(t, sandboxtest.StubbornImage, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, _, c string) {
		must(t, m.StartContainer(t.Context(), c))
		start := time.Now()
		must(t, m.StopContainer(t.Context(), c, 30*time.Second))
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("StopContainer took %v, want 30 s", took)
		}
		wantEnd(t, getContainer(t, m, c), 137, "Error")
		if got := n.Signals(c); !cmp.Equal(got, []int{15, 9}) {
			t.Errorf("signals = %v, want 15 and 9", got)
		}
	})
}

func TestContainer_Running_StopNow(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, _, c string) {
		must(t, m.StartContainer(t.Context(), c))
		must(t, m.StopContainer(t.Context(), c, 0))
		wantEnd(t, getContainer(t, m, c), 137, "Error")
		if got := n.Signals(c); !cmp.Equal(got, []int{9}) {
			t.Errorf("signals = %v, want 9 alone", got)
		}
	})
}

func TestContainer_Running_StopCancelled(t *testing.T) {
	withContainer(t, sandboxtest.StubbornImage, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, _, c string) {
		must(t, m.StartContainer(t.Context(), c))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.StopContainer(ctx, c, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("StopContainer = %v, want DeadlineExceeded", err)
		}
		if got := getContainer(t, m, c); got.Phase != sandbox.ContainerRunning {
			t.Errorf("Phase = %s, want running", got.Phase)
		}
	})
}

func TestContainer_Stopping_StopNowDoesNotWait(t *testing.T) {
	withContainer(t, sandboxtest.StubbornImage, func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node, _, c string) {
		must(t, m.StartContainer(t.Context(), c))
		slow := make(chan error)
		start := time.Now()
		go func() { slow <- m.StopContainer(t.Context(), c, time.Hour) }()
		synctest.Wait()
		must(t, m.StopContainer(t.Context(), c, 0))
		must(t, <-slow)
		if took := time.Since(start); took > 0 {
			t.Errorf("both took %v, want no wait", took)
		}
	})
}

func TestContainer_Running_StopSignal(t *testing.T) {
	for name, tt := range map[string]struct {
		asked, image string
		shown        string
		want         int
	}{
		"asked":       {"SIGUSR1", "SIGQUIT", "SIGUSR1", 10},
		"image":       {"", "SIGQUIT", "SIGQUIT", 3},
		"image-wrong": {"", "SIGNOPE", "SIGTERM", 15},
		"realtime":    {"SIGRTMINPLUS3", "", "SIGRTMINPLUS3", 37},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
				n.AddImage("signal", sandbox.ImageConfig{StopSignal: tt.image})
				pod := mustRun(t, m, podConfig("p"))
				c := containerConfig("c")
				c.Image, c.StopSignal = "signal", tt.asked
				id := mustCreate(t, m, pod, c)
				must(t, m.StartContainer(t.Context(), id))
				must(t, m.StopContainer(t.Context(), id, time.Second))
				if got := n.Signals(id); !cmp.Equal(got, []int{tt.want}) {
					t.Errorf("signals = %v, want %d", got, tt.want)
				}
				if got := getContainer(t, m, id).StopSignal; got != tt.shown {
					t.Errorf("StopSignal = %s, want %s", got, tt.shown)
				}
			})
		})
	}
}

func TestContainer_Running_Remove(t *testing.T) {
	withContainer(t, sandboxtest.StubbornImage, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, pod, c string) {
		must(t, m.StartContainer(t.Context(), c))
		must(t, m.RemoveContainer(t.Context(), c))
		if _, err := m.Container(t.Context(), c); !errdefs.IsNotFound(err) {
			t.Errorf("Container = %v, want NotFound", err)
		}
		if s := n.String(); strings.Contains(s, "container") || strings.Contains(s, "held") {
			t.Errorf("node holds:\n%s", s)
		}
		mustCreate(t, m, pod, containerConfig("c")) // the name is free again
	})
}

func TestContainer_Created_Remove(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, _, c string) {
		must(t, m.RemoveContainer(t.Context(), c))
		if s := n.String(); strings.Contains(s, "container") || strings.Contains(s, "held") {
			t.Errorf("node holds:\n%s", s)
		}
	})
}

func TestPod_Ready_Lose(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, pod, running string) {
		ctx := t.Context()
		must(t, m.StartContainer(ctx, running))
		created := mustCreate(t, m, pod, containerConfig("d"))
		n.KillVM(pod, "Kernel panic - not syncing")
		synctest.Wait()
		p := getPod(t, m, pod)
		if p.State != sandbox.PodNotReady || !strings.Contains(p.Reason, "Kernel panic") {
			t.Errorf("pod = %s %q, want not ready with the console's tail", p.State, p.Reason)
		}
		for _, c := range []string{running, created} {
			got := getContainer(t, m, c)
			wantEnd(t, got, 255, "Unknown")
			if !strings.Contains(got.Message, "Kernel panic") {
				t.Errorf("Message = %q, want the console's tail", got.Message)
			}
		}
		if _, err := m.CreateContainer(ctx, pod, containerConfig("e")); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "Kernel panic") {
			t.Errorf("CreateContainer = %v, want FailedPrecondition with the reason", err)
		}
		must(t, m.StopContainer(ctx, running, time.Minute))
		must(t, m.RemoveContainer(ctx, created))
		must(t, m.StopPod(ctx, pod))
		if p := getPod(t, m, pod); !strings.Contains(p.Reason, "Kernel panic") {
			t.Errorf("Reason after StopPod = %q, want it kept", p.Reason)
		}
		must(t, m.RemovePod(ctx, pod))
		if n.String() != "" {
			t.Errorf("node holds:\n%s", n)
		}
	})
}

func TestPod_Stopped_Create(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node, pod, c string) {
		must(t, m.StopPod(t.Context(), pod))
		if _, err := m.CreateContainer(t.Context(), pod, containerConfig("d")); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("CreateContainer = %v, want FailedPrecondition", err)
		}
		if err := m.StartContainer(t.Context(), c); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("StartContainer = %v, want FailedPrecondition", err)
		}
	})
}

// A container that is being made when its pod is stopped must not keep the pod.
func TestPod_Ready_StopWhileCreating(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod := mustRun(t, m, podConfig("p"))
		release := make(chan struct{})
		n.OnCall(func(call string) {
			if call == "CreateContainer" {
				<-release
			}
		})
		made := make(chan error)
		go func() { _, err := m.CreateContainer(t.Context(), pod, containerConfig("c")); made <- err }()
		synctest.Wait()
		stopped := make(chan error)
		go func() { stopped <- m.StopPod(t.Context(), pod) }()
		synctest.Wait()
		close(release)
		if err := <-made; !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "being stopped") {
			t.Errorf("CreateContainer = %v, want FailedPrecondition since the pod is being stopped", err)
		}
		must(t, <-stopped)
		if n.String() != "" {
			t.Errorf("node holds:\n%s", n)
		}
	})
}

// A guest that does not act on SIGKILL ends with its VM, in bounded time.
func TestPod_Ready_StopHungGuest(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, pod, c string) {
		must(t, m.StartContainer(t.Context(), c))
		n.Fail("Signal", errdefs.ErrUnavailable)
		start := time.Now()
		must(t, m.StopPod(t.Context(), pod))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("StopPod took %v", took)
		}
		wantEnd(t, getContainer(t, m, c), 137, "Error")
	})
}
