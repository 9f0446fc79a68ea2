package sandbox_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// runEarly is run for a Manager whose network may go before VMs.
func runEarly(t *testing.T, f func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node)) {
	t.Helper()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		c := config(t, n, root)
		c.DetachEarly = true
		m, err := sandbox.New(t.Context(), c)
		must(t, err)
		defer m.Close()
		m.SetRecordWriter(os.WriteFile)
		f(t, m, n)
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// TestDetachEarly: the network goes beside the containers' and the VM's end, and not after it.
func TestDetachEarly(t *testing.T) {
	runEarly(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod := mustRun(t, m, podConfig("p"))
		must(t, m.StartContainer(t.Context(), mustCreate(t, m, pod, containerConfig("c"))))
		detaching := make(chan struct{})
		n.OnCall(func(call string) {
			switch call {
			case "Detach":
				close(detaching)
			case "Signal", "Shutdown":
				<-detaching // the bubble is deadlocked if that waits for an end
			}
		})
		must(t, m.StopPod(t.Context(), pod))
		n.OnCall(nil)
	})
}

// TestDetachEarly_Shared: a VM that others have still gets its NIC back first.
func TestDetachEarly_Shared(t *testing.T) {
	runEarly(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod, _ := runShared(t, m, shared("a"))
		runShared(t, m, shared("b"))
		n.TakeCalls()
		must(t, m.StopPod(t.Context(), pod))
		calls := n.TakeCalls()
		if left, detached := slices.Index(calls, "RemovePod"), slices.Index(calls, "Detach"); left < 0 || detached < left {
			t.Errorf("calls are %q, want RemovePod before Detach", calls)
		}
	})
}

// TestDetachEarly_EveryStepFails: a stop whose calls fail can be finished, whichever of the
// two sides fails.
func TestDetachEarly_EveryStepFails(t *testing.T) {
	failed := map[string]bool{}
	for _, call := range []string{"Signal", "Shutdown", "Detach", "ScratchRemove"} {
		runEarly(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
			pod := aFullPod(t, m)
			why := errors.New("it does not work")
			n.Fail(call, why)
			err := m.StopPod(t.Context(), pod)
			n.Fail(call, nil)
			failed[call] = errors.Is(err, why)
			if err == nil {
				return
			}
			if p := getPod(t, m, pod); p.State == sandbox.PodReady {
				t.Errorf("%s fails: the pod is still %s", call, p.State)
			}
			must(t, m.StopPod(t.Context(), pod))
		})
	}
	if !failed["Shutdown"] || !failed["Detach"] || !failed["ScratchRemove"] {
		t.Errorf("StopPod told of failures: %v", failed)
	}
}
