package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// shared is the configuration of a pod that shares its VM with those of its namespace.
func shared(name string) sandbox.PodConfig {
	c := podConfig(name)
	c.RuntimeHandler = sandboxtest.SharedHandler
	return c
}

// runShared runs a pod with a running container.
func runShared(t testing.TB, m *sandbox.Manager, c sandbox.PodConfig) (pod, ctr string) {
	t.Helper()
	pod = mustRun(t, m, c)
	ctr = mustCreate(t, m, pod, containerConfig("c"))
	must(t, m.StartContainer(t.Context(), ctr))
	return pod, ctr
}

// runAndLeave is run for a test after which all is removed and nothing may be left.
func runAndLeave(t *testing.T, f func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node)) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
		m.SetRecordWriter(os.WriteFile)
		f(t, m, n)
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

func wantVMs(t testing.TB, n *sandboxtest.Node, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), n.VMs()); diff != "" {
		t.Errorf("pods by VM (-want +got):\n%s", diff)
	}
}

// wantRuns checks that nothing happened to a pod and its container.
func wantRuns(t testing.TB, m *sandbox.Manager, n *sandboxtest.Node, pod, ctr string) {
	t.Helper()
	if p := getPod(t, m, pod); p.State != sandbox.PodReady || p.Reason != "" {
		t.Errorf("pod %s is %s (%s), want ready", p.Config.Name, p.State, p.Reason)
	}
	if c := getContainer(t, m, ctr); c.Phase != sandbox.ContainerRunning {
		t.Errorf("container of pod %s is %s, want running", c.PodID, c.Phase)
	}
	if _, ok := n.PodSetup(pod); !ok {
		t.Errorf("no VM holds pod %s", pod)
	}
	if _, ok := n.Setup(ctr); !ok {
		t.Errorf("no VM holds container %s", ctr)
	}
}

func TestShared_ByNamespaceAndAnnotation(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		with := func(name, namespace, value string) sandbox.PodConfig {
			c := shared(name)
			c.Namespace = namespace
			c.Annotations = map[string]string{sandboxtest.SharedAnnotation: value}
			return c
		}
		views := map[string]sandbox.Pod{}
		for _, c := range []sandbox.PodConfig{
			with("a", "x", ""), with("b", "x", ""), with("c", "y", ""), with("d", "x", "blue"), with("e", "y", "blue"), podConfig("own"),
		} {
			views[c.Name] = getPod(t, m, mustRun(t, m, c))
		}
		wantVMs(t, n, "a b", "c", "d e", "own")
		if views["a"].VM != views["b"].VM || views["a"].VM == views["c"].VM || views["a"].VM == views["a"].ID || views["own"].VM != views["own"].ID {
			t.Errorf("VMs shown: %+v", views)
		}
	})
}

// A VM holds so many pods; the next one gets another, and a place that is free is used.
func TestShared_Full(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		var ids []string
		for i := range 6 {
			ids = append(ids, mustRun(t, m, shared(fmt.Sprint("p", i))))
		}
		wantVMs(t, n, "p0 p1 p2 p3", "p4 p5")
		must(t, m.RemovePod(t.Context(), ids[1]))
		must(t, m.StopPod(t.Context(), ids[2]))
		wantVMs(t, n, "p0 p3", "p4 p5")
		must(t, m.StopPod(t.Context(), ids[3]))
		mustRun(t, m, shared("p6")) // to the fuller one
		mustRun(t, m, shared("p7"))
		mustRun(t, m, shared("p8"))
		wantVMs(t, n, "p0 p8", "p4 p5 p6 p7")
	})
}

// Memory limits are promises that are kept; a pod without one is promised nothing.
func TestShared_Memory(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		with := func(name string, mib int64) sandbox.PodConfig {
			c := shared(name)
			c.Resources.MemoryLimit = mib << 20
			return c
		}
		mustRun(t, m, with("a", 600))
		mustRun(t, m, with("b", 361)) // of the 960 MiB that 64 for the guest leave
		mustRun(t, m, with("c", 599))
		mustRun(t, m, with("d", 360))
		mustRun(t, m, with("e", 1))
		wantVMs(t, n, "a d", "b c", "e")
		mustRun(t, m, with("g", 0))
		if vms := n.VMs(); len(vms) != 3 || vms[2] != "e" {
			t.Errorf("pods by VM %q, want g in a full one", vms)
		}
		_, err := m.RunPod(t.Context(), with("e", 961))
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "memory_limit_in_bytes") || !strings.Contains(err.Error(), "960 MiB") {
			t.Errorf("RunPod of more than an empty VM has = %v", err)
		}
		s, _ := n.PodSetup(mustRun(t, m, with("f", 100)))
		if !strings.Contains(string(s.Limits), "104857600") {
			t.Errorf("limits of the pod = %s", s.Limits)
		}
		own := podConfig("own")
		own.Resources.MemoryLimit = 100 << 20
		if s, _ := n.PodSetup(mustRun(t, m, own)); len(s.Limits) > 0 {
			t.Errorf("a pod in its own VM has limits %s besides", s.Limits)
		}
	})
}

func TestShared_Refuses(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		for _, change := range []func(*sandbox.PodConfig){
			func(c *sandbox.PodConfig) { c.Privileged = true },
			func(c *sandbox.PodConfig) { c.Security.Privileged = true },
		} {
			c := shared("p")
			change(&c)
			if _, err := m.RunPod(t.Context(), c); !errdefs.IsPermissionDenied(err) {
				t.Errorf("RunPod of a privileged pod = %v, want PermissionDenied", err)
			}
		}
		node := shared("p")
		node.Namespaces.PID = sandbox.NamespaceNode
		if _, err := m.RunPod(t.Context(), node); !errdefs.IsNotImplemented(err) {
			t.Errorf("RunPod with the node's processes = %v, want NotImplemented", err)
		}
		pod := mustRun(t, m, shared("p"))
		for _, change := range []func(*sandbox.Security){
			func(s *sandbox.Security) { s.Privileged = true },
			func(s *sandbox.Security) { s.AddCapabilities = []string{"NET_ADMIN", "CAP_SYS_ADMIN"} },
			func(s *sandbox.Security) { s.AddCapabilities = []string{"all"} },
			func(s *sandbox.Security) { s.AddAmbientCaps = []string{"SYS_MODULE"} },
		} {
			c := containerConfig("c")
			change(&c.Security)
			if _, err := m.CreateContainer(t.Context(), pod, c); !errdefs.IsPermissionDenied(err) {
				t.Errorf("CreateContainer with %+v = %v, want PermissionDenied", c.Security, err)
			}
		}
		c := containerConfig("c")
		c.Security.AddCapabilities = []string{"NET_ADMIN", "SYS_PTRACE"}
		mustCreate(t, m, pod, c)
		if got := n.VMs(); len(got) != 1 {
			t.Errorf("VMs %q", got)
		}
	})
}

// A VM is saved whole, so that no pod of a shared one is saved, and none restored into one.
func TestShared_NoCheckpoint(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod, ctr := runShared(t, m, shared("p"))
		if err := m.CheckpointPod(t.Context(), pod, t.TempDir(), []string{ctr}); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "shares its VM") {
			t.Errorf("CheckpointPod = %v, want FailedPrecondition", err)
		}
		if _, _, err := m.RestorePod(t.Context(), sandbox.RestoreConfig{Pod: shared("q"), Dir: t.TempDir()}); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "share VMs") {
			t.Errorf("RestorePod = %v, want FailedPrecondition", err)
		}
		wantRuns(t, m, n, pod, ctr)
	})
}

// However many come first, there is one VM until it is full.
func TestShared_FirstAtOnce(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		n.OnCall(func(call string) {
			if call == "Launch" {
				time.Sleep(3 * time.Second)
			}
		})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if _, err := m.RunPod(t.Context(), shared(fmt.Sprint("p", i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		wantVMs(t, n, "p0 p1 p2 p3")
	})
}

// A VM that does not start is told to all who wait for it, and tried again by the next.
func TestShared_LaunchFails(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		n.Fail("Launch", errors.New("no such kernel"))
		n.OnCall(func(call string) {
			if call == "Launch" {
				time.Sleep(3 * time.Second)
			}
		})
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if _, err := m.RunPod(t.Context(), shared(fmt.Sprint("p", i))); err == nil || !strings.Contains(err.Error(), "no such kernel") {
					t.Errorf("RunPod = %v", err)
				}
			})
		}
		wg.Wait()
		if got := n.String(); got != "" {
			t.Errorf("node holds:\n%s", got)
		}
		if calls := strings.Count(strings.Join(n.TakeCalls(), " "), "Launch"); calls != 1 {
			t.Errorf("%d launches, want one", calls)
		}
		n.Fail("Launch", nil)
		mustRun(t, m, shared("q"))
		wantVMs(t, n, "q")
	})
}

// Who launches the VM may give up: another who wants it goes on.
func TestShared_LauncherGivesUp(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		ctx, cancel := context.WithCancel(t.Context())
		var once sync.Once
		n.OnCall(func(call string) {
			if call == "Launch" {
				time.Sleep(time.Second)
				once.Do(func() { time.Sleep(time.Second); cancel() })
			}
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := m.RunPod(ctx, shared("a")); !errors.Is(err, context.Canceled) {
				t.Errorf("RunPod = %v, want Canceled", err)
			}
		})
		time.Sleep(time.Millisecond)
		mustRun(t, m, shared("b"))
		wg.Wait()
		wantVMs(t, n, "b")
	})
}

// A pod that comes while the last one goes has a VM that stays.
func TestShared_JoinWhileLastLeaves(t *testing.T) {
	for _, at := range []string{"Signal", "RemovePod", "Shutdown", "Detach"} {
		t.Run(at, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				n := sandboxtest.New()
				m := open(t, n, root)
				defer m.Close()
				pod, _ := runShared(t, m, shared("a"))
				var wg sync.WaitGroup
				var once sync.Once
				var b, ctr string
				n.OnCall(func(call string) {
					if call == at {
						once.Do(func() {
							wg.Go(func() { b, ctr = runShared(t, m, shared("b")) })
							time.Sleep(time.Second) // the other has all the time it needs
						})
					}
				})
				must(t, m.StopPod(t.Context(), pod))
				wg.Wait()
				if b == "" { // it had no such step
					b, ctr = runShared(t, m, shared("b"))
				}
				wantRuns(t, m, n, b, ctr)
				wantVMs(t, n, "b")
				removeAll(t, m)
				wantNothing(t, n, root)
			})
		})
	}
}

// All leave at once: the VM goes, and nobody is told of an error.
func TestShared_LastAtOnce(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		var ids []string
		for i := range 4 {
			id, _ := runShared(t, m, shared(fmt.Sprint("p", i)))
			ids = append(ids, id)
		}
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() { must(t, m.RemovePod(t.Context(), id)) })
		}
		wg.Wait()
	})
}

// beside runs op, with a failure at each of its steps, beside a pod of the same VM, which
// must not notice.
func beside(t *testing.T, prepare func(*testing.T, *sandbox.Manager) string, op func(context.Context, *sandbox.Manager, string) error) {
	for _, mode := range []string{"one", "all"} {
		for step, last := 1, false; !last; step++ {
			t.Run(fmt.Sprintf("%s-%d", mode, step), func(t *testing.T) {
				root := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					n := sandboxtest.New()
					m := open(t, n, root)
					defer m.Close()
					m.SetRecordWriter(os.WriteFile)
					pod, ctr := runShared(t, m, shared("bystander"))
					on := prepare(t, m)
					n.TakeCalls()
					if mode == "one" {
						n.FailAt(step)
					} else {
						n.FailFrom(step)
					}
					err := op(t.Context(), m, on)
					last = len(n.TakeCalls()) < step
					n.FailAt()
					wantRuns(t, m, n, pod, ctr)
					pods, perr := m.Pods(t.Context(), sandbox.PodFilter{})
					must(t, perr)
					for _, p := range pods {
						if p.ID != pod && err != nil {
							must(t, m.RemovePod(t.Context(), p.ID))
						}
					}
					wantRuns(t, m, n, pod, ctr)
					removeAll(t, m)
					wantNothing(t, n, root)
				})
			})
			if t.Failed() {
				return
			}
			if step > 2*maxSteps {
				t.Fatalf("%s: it still has a call %d", mode, step)
			}
		}
	}
}

func aSharedPod(t *testing.T, m *sandbox.Manager) string {
	pod, _ := runShared(t, m, shared("p"))
	return pod
}

func TestShared_RunPodEachStepFails(t *testing.T) {
	beside(t, func(*testing.T, *sandbox.Manager) string { return "" },
		func(ctx context.Context, m *sandbox.Manager, _ string) error {
			_, err := m.RunPod(ctx, shared("p"))
			return err
		})
}

func TestShared_StopPodEachStepFails(t *testing.T) {
	beside(t, aSharedPod, func(ctx context.Context, m *sandbox.Manager, pod string) error { return m.StopPod(ctx, pod) })
}

func TestShared_RemovePodEachStepFails(t *testing.T) {
	beside(t, aSharedPod, func(ctx context.Context, m *sandbox.Manager, pod string) error { return m.RemovePod(ctx, pod) })
}

// The same for the pod that is alone in its VM.
func TestShared_AloneEachStepFails(t *testing.T) {
	eachStep(t, func(*testing.T, *sandbox.Manager) string { return "" },
		func(ctx context.Context, m *sandbox.Manager, _ string) error {
			_, err := m.RunPod(ctx, shared("p"))
			return err
		})
	eachStep(t, aSharedPod, func(ctx context.Context, m *sandbox.Manager, pod string) error { return m.RemovePod(ctx, pod) })
}

// A guest that does not let go of one pod keeps the others, until none is wanted.
func TestShared_StuckPod(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		a := aSharedPod(t, m)
		b, ctr := runShared(t, m, shared("b"))
		n.Fail("RemovePod", fmt.Errorf("it is busy: %w", errdefs.ErrUnavailable))
		if err := m.StopPod(t.Context(), a); err == nil {
			t.Error("StopPod = nil though the guest has the pod still")
		}
		if p := getPod(t, m, a); p.State != sandbox.PodNotReady {
			t.Errorf("the pod is %s", p.State)
		}
		wantRuns(t, m, n, b, ctr)
		must(t, m.StopPod(t.Context(), b))
		must(t, m.StopPod(t.Context(), a))
		wantVMs(t, n)
	})
}

// A daemon that starts again finds the VM with all its pods, and what became of each.
// A VM that the daemon cannot reach is not touched until one of its pods is stopped; new
// pods get another.
// Figures of all pods of a VM are one question.
// TestShared_Random: many at once, with VMs that die and calls that fail.
// TestShared_CrashAtEachStep lets the daemon die at each step of what it does with a pod
// beside another, which the next daemon finds as it was.
