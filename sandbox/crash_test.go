package sandbox_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"testing/synctest"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// TestCrashAtEachStep lets the daemon die at step 1, 2, … of each operation, until it has no more: from then on
// nothing it does has an effect, neither on the node nor on its records. The next daemon
// must start, show nothing half-made as ready, and be able to remove all.
func TestCrashAtEachStep(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *sandbox.Manager) string
		op      func(context.Context, *sandbox.Manager, string) error
	}{
		"run-pod": {func(*testing.T, *sandbox.Manager) string { return "" },
			func(ctx context.Context, m *sandbox.Manager, _ string) error {
				_, err := m.RunPod(ctx, podConfig("p"))
				return err
			}},
		"create-container": {aPod, func(ctx context.Context, m *sandbox.Manager, on string) error {
			_, err := m.CreateContainer(ctx, on, containerConfig("c"))
			return err
		}},
		"start-container": {aContainer, func(ctx context.Context, m *sandbox.Manager, on string) error {
			return m.StartContainer(ctx, on)
		}},
		"remove-container": {aRunningContainer, func(ctx context.Context, m *sandbox.Manager, on string) error {
			return m.RemoveContainer(ctx, on)
		}},
		"stop-pod": {aFullPod, func(ctx context.Context, m *sandbox.Manager, on string) error {
			return m.StopPod(ctx, on)
		}},
		"remove-pod": {aFullPod, func(ctx context.Context, m *sandbox.Manager, on string) error {
			return m.RemovePod(ctx, on)
		}},
	} {
		for step, last := 1, false; !last; step++ {
			for _, reboot := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s-%d-%v", name, step, reboot), func(t *testing.T) {
					root := t.TempDir()
					synctest.Test(t, func(t *testing.T) {
						n := sandboxtest.New()
						m := open(t, n, root)
						on := tt.prepare(t, m)
						m.SetRecordWriter(func(path string, data []byte, perm fs.FileMode) error {
							if err := n.Step(context.WithoutCancel(t.Context()), "WriteRecord"); err != nil {
								return err
							}
							return os.WriteFile(path, data, perm)
						})
						n.TakeCalls()
						n.FailFrom(step)
						opErr := tt.op(t.Context(), m, on)
						last = len(n.TakeCalls()) < step // it had no such step
						m.Close()
						n.FailAt()
						if reboot {
							n.Reboot()
						}
						m = open(t, n, root)
						defer m.Close()
						pods, err := m.Pods(t.Context(), sandbox.PodFilter{State: sandbox.PodReady})
						must(t, err)
						if reboot && len(pods) > 0 {
							t.Errorf("pods are ready after a reboot: %+v", pods)
						}
						if name == "run-pod" && opErr != nil && len(pods) > 0 {
							t.Errorf("a half-made pod is ready: %+v", pods)
						}
						removeAll(t, m)
						wantNothing(t, n, root)
					})
				})
			}
		}
	}
}
