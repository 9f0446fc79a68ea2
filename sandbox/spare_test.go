package sandbox_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

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
			if err == nil {
				if id != spare {
					t.Errorf("failing at step %d: the pod is %s, its VM %s", step, id, spare)
				}
				step = maxSteps
			}
		})
	}
}
