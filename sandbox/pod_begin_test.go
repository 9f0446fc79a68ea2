package sandbox_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// slowNetwork holds Attach until BeginPod has been called, as long as a pod is begun at all.
func slowNetwork(n *sandboxtest.Node) {
	begun := make(chan struct{})
	n.OnCall(func(call string) {
		switch call {
		case "BeginPod":
			close(begun)
		case "Attach":
			<-begun // the bubble is deadlocked if that waits for the network
		}
	})
}

// TestBeginPod: a pod is begun in its VM while its network is yet to come.
func TestBeginPod(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		slowNetwork(n)
		pod := mustRun(t, m, podConfig("p"))
		if calls := n.TakeCalls(); slices.Index(calls, "SetupPod") < slices.Index(calls, "BeginPod") {
			t.Errorf("calls are %q, want BeginPod before SetupPod", calls)
		}
		n.OnCall(nil)
		must(t, m.RemovePod(t.Context(), pod))
	})
}

// TestBeginPod_Fails: what was begun and cannot go on is undone, whoever fails.
func TestBeginPod_Fails(t *testing.T) {
	for _, call := range []string{"BeginPod", "Attach", "SetupPod"} {
		runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
			slowNetwork(n)
			why := errors.New("it does not work")
			n.Fail(call, why)
			if _, err := m.RunPod(t.Context(), podConfig("p")); !errors.Is(err, why) {
				t.Errorf("%s fails: RunPod = %v", call, err)
			}
			if left := n.String(); left != "" {
				t.Errorf("%s fails: left\n%s", call, left)
			}
		})
	}
}

// TestBeginPod_Shared: pods that share a VM are set up at once.
func TestBeginPod_Shared(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		mustRun(t, m, shared("a"))
		if calls := n.TakeCalls(); slices.Contains(calls, "BeginPod") {
			t.Errorf("calls are %q", calls)
		}
	})
}
