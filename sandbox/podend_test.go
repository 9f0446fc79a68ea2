package sandbox_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// TestContainerEndsBesidePod ends a container while its pod's VM goes away under the call:
// whoever comes second has nothing left to do, which is no error.
func TestContainerEndsBesidePod(t *testing.T) {
	stop := func(ctx context.Context, m *sandbox.Manager, id string) error {
		return m.StopContainer(ctx, id, time.Second)
	}
	remove := func(ctx context.Context, m *sandbox.Manager, id string) error { return m.RemoveContainer(ctx, id) }
	endPod := map[string]func(context.Context, *sandbox.Manager, string) error{
		"stop-pod":   func(ctx context.Context, m *sandbox.Manager, id string) error { return m.StopPod(ctx, id) },
		"remove-pod": func(ctx context.Context, m *sandbox.Manager, id string) error { return m.RemovePod(ctx, id) },
	}
	for name, tt := range map[string]struct {
		end     func(context.Context, *sandbox.Manager, string) error
		started bool
		call    string // of the shim, during which the VM goes
	}{
		"stop-created":   {stop, false, "RemoveContainer"},
		"stop-running":   {stop, true, "Signal"},
		"remove-created": {remove, false, "RemoveContainer"},
		"remove-running": {remove, true, "Signal"},
	} {
		for what, endPod := range endPod {
			t.Run(name+"-beside-"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := sandboxtest.New()
					m := open(t, n, t.TempDir())
					defer m.Close()
					pod := mustRun(t, m, podConfig("p"))
					id := mustCreate(t, m, pod, containerConfig("c"))
					if tt.started {
						must(t, m.StartContainer(t.Context(), id))
					}
					podEnded := make(chan error, 1)
					begun := false
					n.OnCall(func(call string) {
						if call != tt.call || begun {
							return
						}
						begun = true
						go func() { podEnded <- endPod(t.Context(), m, pod) }()
						for strings.Contains(n.String(), "vm ") {
							time.Sleep(time.Millisecond) // of the bubble: until the VM is gone
						}
					})
					if err := tt.end(t.Context(), m, id); err != nil && !errdefs.IsNotFound(err) {
						t.Errorf("%s while the pod ends: %v", name, err)
					}
					if !begun {
						t.Errorf("%s made no call %s", name, tt.call)
					}
					if err := <-podEnded; err != nil {
						t.Errorf("%s: %v", what, err)
					}
					n.OnCall(nil)
					if err := tt.end(t.Context(), m, id); err != nil && !errdefs.IsNotFound(err) {
						t.Errorf("%s once more: %v", name, err)
					}
					if err := m.RemovePod(t.Context(), pod); err != nil && !errdefs.IsNotFound(err) {
						t.Error(err)
					}
					if left := n.String(); left != "" {
						t.Errorf("left:\n%s", left)
					}
				})
			})
		}
	}
}
