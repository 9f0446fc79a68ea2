package sandbox_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// maxSteps is more calls than any operation makes.
const maxSteps = 30

// eachStep runs op with a failure at call 1, 2, … until it succeeds, first of that
// call alone and then of all from it on, so that undoing fails too. prepare gives op
// what it works on. After each, RemovePod must leave nothing.
func eachStep(t *testing.T,
	prepare func(t *testing.T, m *sandbox.Manager) string,
	op func(ctx context.Context, m *sandbox.Manager, on string) error,
) {
	for _, mode := range []string{"one", "all"} {
		failed := 0
		for step := 1; ; step++ {
			if step > maxSteps {
				t.Fatalf("%s: it still fails at call %d", mode, step)
			}
			var err error
			t.Run(fmt.Sprintf("%s-%d", mode, step), func(t *testing.T) {
				root := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					n := sandboxtest.New()
					m := open(t, n, root)
					defer m.Close()
					m.SetRecordWriter(os.WriteFile) // many runs: no waiting for the disk
					on := prepare(t, m)
					if mode == "one" {
						n.FailAt(step)
					} else {
						n.FailFrom(step)
					}
					err = op(t.Context(), m, on)
					n.FailAt()
					removeAll(t, m)
					wantNothing(t, n, root)
				})
			})
			if t.Failed() {
				return
			}
			if err == nil && mode == "all" || err == nil && failed > 0 && step > failed+3 {
				break
			}
			if err != nil {
				failed = step
			}
		}
		if failed == 0 {
			t.Fatalf("%s: it never failed", mode)
		}
	}
}

func removeAll(t testing.TB, m *sandbox.Manager) {
	t.Helper()
	pods, err := m.Pods(t.Context(), sandbox.PodFilter{})
	must(t, err)
	for _, p := range pods {
		if p.State == sandbox.PodReady {
			must(t, m.StopPod(t.Context(), p.ID))
		}
		must(t, m.RemovePod(t.Context(), p.ID))
	}
	if pods, err := m.Pods(t.Context(), sandbox.PodFilter{}); err != nil || len(pods) != 0 {
		t.Errorf("Pods after removal = %v, %v; want none", pods, err)
	}
	if cs, err := m.Containers(t.Context(), sandbox.ContainerFilter{}); err != nil || len(cs) != 0 {
		t.Errorf("Containers after removal = %v, %v; want none", cs, err)
	}
}

func aPod(t *testing.T, m *sandbox.Manager) string { return mustRun(t, m, podConfig("p")) }

func aContainer(t *testing.T, m *sandbox.Manager) string {
	return mustCreate(t, m, aPod(t, m), containerConfig("c"))
}

func aRunningContainer(t *testing.T, m *sandbox.Manager) string {
	c := aContainer(t, m)
	must(t, m.StartContainer(t.Context(), c))
	return c
}

func aFullPod(t *testing.T, m *sandbox.Manager) string {
	c := aRunningContainer(t, m)
	pod := getContainer(t, m, c).PodID
	mustCreate(t, m, pod, containerConfig("d"))
	return pod
}

func TestRunPodEachStepFails(t *testing.T) {
	eachStep(t, func(*testing.T, *sandbox.Manager) string { return "" },
		func(ctx context.Context, m *sandbox.Manager, _ string) error {
			_, err := m.RunPod(ctx, podConfig("p"))
			return err
		})
}

func TestCreateContainerEachStepFails(t *testing.T) {
	eachStep(t, aPod, func(ctx context.Context, m *sandbox.Manager, pod string) error {
		_, err := m.CreateContainer(ctx, pod, containerConfig("c"))
		return err
	})
}

func TestStartContainerEachStepFails(t *testing.T) {
	eachStep(t, aContainer, func(ctx context.Context, m *sandbox.Manager, c string) error {
		return m.StartContainer(ctx, c)
	})
}

func TestStopContainerEachStepFails(t *testing.T) {
	eachStep(t, aRunningContainer, func(ctx context.Context, m *sandbox.Manager, c string) error {
		return m.StopContainer(ctx, c, time.Second)
	})
}

func TestRemoveContainerEachStepFails(t *testing.T) {
	eachStep(t, aRunningContainer, func(ctx context.Context, m *sandbox.Manager, c string) error {
		return m.RemoveContainer(ctx, c)
	})
}

func TestStopPodEachStepFails(t *testing.T) {
	eachStep(t, aFullPod, func(ctx context.Context, m *sandbox.Manager, pod string) error {
		return m.StopPod(ctx, pod)
	})
}

func TestRemovePodEachStepFails(t *testing.T) {
	eachStep(t, aFullPod, func(ctx context.Context, m *sandbox.Manager, pod string) error {
		return m.RemovePod(ctx, pod)
	})
}

// The same, but the daemon is started again before the removal: what undoing left must
// be in the records.
func TestRestartAfterEachStepFails(t *testing.T) {
	for step := 1; step <= 5; step++ {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				n := sandboxtest.New()
				m := open(t, n, root)
				n.FailFrom(step)
				if _, err := m.RunPod(t.Context(), podConfig("p")); err == nil {
					t.Log("it did not fail")
				}
				n.FailAt()
				m.Close()
				m = open(t, n, root)
				defer m.Close()
				removeAll(t, m)
				wantNothing(t, n, root)
			})
		})
	}
}

// A call that its caller gave up on is undone all the same.
func TestRunPodCancelled(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		ctx, cancel := context.WithCancel(t.Context())
		n.OnCall(func(call string) {
			if call == "SetupPod" {
				cancel()
			}
		})
		if _, err := m.RunPod(ctx, podConfig("p")); err == nil {
			t.Fatal("RunPod = nil, want an error")
		}
		if n.String() != "" {
			t.Errorf("node holds:\n%s", n)
		}
	})
}

func TestConcurrent(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
		m.SetRecordWriter(os.WriteFile)
		ctx := t.Context()
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(worker)))
				for range 120 {
					if err := randomStep(ctx, m, n, r); err != nil && !expected(err) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// randomStep does one operation on what it finds.
func randomStep(ctx context.Context, m *sandbox.Manager, n *sandboxtest.Node, r *rand.Rand) error {
	pods, err := m.Pods(ctx, sandbox.PodFilter{})
	if err != nil {
		return err
	}
	cs, err := m.Containers(ctx, sandbox.ContainerFilter{})
	if err != nil {
		return err
	}
	pod, c := "ffffffffffffffffffffffffffffffff", "ffffffffffffffffffffffffffffffff"
	if len(pods) > 0 {
		pod = pods[r.IntN(len(pods))].ID
	}
	if len(cs) > 0 {
		c = cs[r.IntN(len(cs))].ID
	}
	switch r.IntN(12) {
	case 0, 1:
		_, err = m.RunPod(ctx, podConfig(fmt.Sprint("p", r.IntN(5))))
	case 2, 3, 4:
		_, err = m.CreateContainer(ctx, pod, containerConfig(fmt.Sprint("c", r.IntN(5))))
	case 5, 6:
		err = m.StartContainer(ctx, c)
	case 7:
		err = m.StopContainer(ctx, c, time.Duration(r.IntN(2))*time.Second)
	case 8:
		err = m.RemoveContainer(ctx, c)
	case 9:
		if r.IntN(3) == 0 {
			n.KillVM(pod, "killed by the test")
			return nil
		}
		_, err = m.Exec(ctx, c, sandbox.ExecSpec{Args: []string{"echo"}}, sandbox.Streams{})
	case 10:
		err = m.StopPod(ctx, pod)
	case 11:
		err = m.RemovePod(ctx, pod)
	}
	return err
}

// expected errors are those of two that want different things of one object, and of a
// VM that ends in the middle.
func expected(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsAlreadyExists(err) || errdefs.IsFailedPrecondition(err) ||
		errdefs.IsUnavailable(err) || strings.Contains(err.Error(), "shim is gone")
}
