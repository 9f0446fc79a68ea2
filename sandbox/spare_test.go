package sandbox_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// oneSpare has one VM to give.
type oneSpare struct {
	id   string
	shim sandbox.Shim
}

func (o *oneSpare) Take(sandbox.ShimConfig) (string, sandbox.Shim, bool) {
	s := o.shim
	o.shim = nil
	return o.id, s, s != nil
}

// withSpare runs f with a Manager that has one spare VM.
func withSpare(t *testing.T, f func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, spare string)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		c := config(t, n, root)
		o := &oneSpare{}
		c.Spares = o
		m, err := sandbox.New(t.Context(), c)
		must(t, err)
		defer m.Close()
		m.SetRecordWriter(os.WriteFile)
		o.id = sandbox.NewID()
		o.shim, err = c.Launcher.Launch(t.Context(), sandbox.ShimConfig{ID: o.id, VCPUs: 1, MemoryMiB: 256})
		must(t, err)
		n.TakeCalls()
		f(t, n, m, o.id)
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

func TestSpare(t *testing.T) {
	withSpare(t, func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, spare string) {
		id := mustRun(t, m, podConfig("web"))
		if id != spare {
			t.Errorf("the pod is %s, its VM %s", id, spare)
		}
		if calls := n.TakeCalls(); slices.Contains(calls, "Launch") {
			t.Errorf("a VM was launched beside the spare: %q", calls)
		}
		if other := mustRun(t, m, podConfig("second")); other == spare {
			t.Error("two pods have one VM")
		}
		if calls := n.TakeCalls(); !slices.Contains(calls, "Launch") {
			t.Errorf("no VM was launched for a pod without a spare: %q", calls)
		}
	})
}

// TestSpare_Stray: a spare that an earlier daemon left is ended.
func TestSpare_Stray(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		c := config(t, n, root)
		shim, err := c.Launcher.Launch(t.Context(), sandbox.ShimConfig{ID: sandbox.NewID(), VCPUs: 1, MemoryMiB: 256})
		must(t, err)
		must(t, shim.Close()) // as the daemon's end does
		open(t, n, root).Close()
		wantNothing(t, n, root)
	})
}

func TestSpare_Dead(t *testing.T) {
	withSpare(t, func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, spare string) {
		n.KillVM(spare, "qemu was killed")
		must(t, sandboxtest.Launcher{Node: n}.End(t.Context(), spare))
		synctest.Wait()
		n.TakeCalls()
		id := mustRun(t, m, podConfig("web"))
		if calls := n.TakeCalls(); !slices.Contains(calls, "Launch") {
			t.Errorf("no VM was launched in place of one that died: %q", calls)
		}
		if p := getPod(t, m, id); p.State != sandbox.PodReady {
			t.Errorf("the pod is %s: %s", p.State, p.Reason)
		}
	})
}

// TestSpare_Refused: a spare that was taken for a pod that cannot be is ended.
func TestSpare_Refused(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		c := config(t, n, root)
		o := &oneSpare{}
		c.Spares = o
		m, err := sandbox.New(t.Context(), c)
		must(t, err)
		defer m.Close()
		mustRun(t, m, podConfig("web"))
		o.id = sandbox.NewID()
		o.shim, err = c.Launcher.Launch(t.Context(), sandbox.ShimConfig{ID: o.id, VCPUs: 1, MemoryMiB: 256})
		must(t, err)
		if _, err := m.RunPod(t.Context(), podConfig("web")); !errdefs.IsAlreadyExists(err) {
			t.Errorf("RunPod again: %v, want an AlreadyExists error", err)
		}
		if got := n.String(); strings.Contains(got, o.id[:8]) {
			t.Errorf("the spare is left:\n%s", got)
		}
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// TestSpare_EveryStepFails: a pod that got a spare and cannot be made takes it along.
func TestSpare_EveryStepFails(t *testing.T) {
	for step := 1; step <= maxSteps; step++ {
		withSpare(t, func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, spare string) {
			n.FailAt(step)
			id, err := m.RunPod(t.Context(), podConfig("web"))
			n.FailAt()
			calls := n.TakeCalls()
			if err == nil && id != spare {
				t.Errorf("failing at step %d: the pod is %s, its VM %s", step, id, spare)
			}
			// A spare that does not answer does not fail the pod, which gets another VM.
			if err == nil && len(calls) >= step && !slices.Contains(calls, "Launch") {
				t.Errorf("failing at step %d of %q: no error", step, calls)
			}
			if len(calls) < step {
				step = maxSteps
			}
		})
	}
}

// TestSpare_Hung: a pod whose spare hangs does not wait for it, and gets a VM that is launched.
func TestSpare_Hung(t *testing.T) {
	for name, failEnd := range map[string]bool{"ends when asked": false, "must be killed": true} {
		t.Run(name, func(t *testing.T) {
			withSpare(t, func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, spare string) {
				n.Hang(spare)
				if failEnd {
					n.Fail("Shutdown", errdefs.ErrUnavailable)
					defer n.Fail("Shutdown", nil)
				}
				begun := time.Now()
				id := mustRun(t, m, podConfig("web"))
				if took := time.Since(begun); took > 11*time.Second {
					t.Errorf("it took %s", took)
				}
				calls := n.TakeCalls()
				ended := "Shutdown"
				if failEnd {
					ended = "End"
				}
				end, launch := slices.Index(calls, ended), slices.Index(calls, "Launch")
				if end < 0 || launch < end {
					t.Errorf("calls are %q, want %s before Launch", calls, ended)
				}
				if p := getPod(t, m, id); p.State != sandbox.PodReady || id != spare {
					t.Errorf("the pod %s is %s: %s", id, p.State, p.Reason)
				}
			})
		})
	}
}

// TestSpare_HungAndGivenUp: whoever does not wait for the pod leaves no spare that hangs.
func TestSpare_HungAndGivenUp(t *testing.T) {
	withSpare(t, func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, spare string) {
		n.Hang(spare)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.RunPod(ctx, podConfig("web")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("RunPod: %v, want the deadline's error", err)
		}
		if got := n.String(); got != "" {
			t.Errorf("it leaves:\n%s", got)
		}
	})
}
