package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
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
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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

// However many come first, there is one VM until it is full.
func TestShared_FirstAtOnce(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
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
		wantNothing(t, n, root)
		if calls := strings.Count(strings.Join(n.TakeCalls(), " "), "Launch"); calls != 1 {
			t.Errorf("%d launches, want one", calls)
		}
		n.Fail("Launch", nil)
		mustRun(t, m, shared("q"))
		wantVMs(t, n, "q")
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// Who launches the VM may give up: another who wants it goes on.
func TestShared_LauncherGivesUp(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
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
		wantNothing(t, n, root)
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
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
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
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

func TestShared_VMEnds(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
		a, ctrA := runShared(t, m, shared("a"))
		b, ctrB := runShared(t, m, shared("b"))
		n.KillVM(getPod(t, m, a).VM, "guest panicked: oops")
		synctest.Wait()
		for _, id := range []string{a, b} {
			if p := getPod(t, m, id); p.State != sandbox.PodNotReady || !strings.Contains(p.Reason, "oops") {
				t.Errorf("pod %s is %s (%s)", p.Config.Name, p.State, p.Reason)
			}
		}
		for _, id := range []string{ctrA, ctrB} {
			wantEnd(t, getContainer(t, m, id), 255, "Unknown")
		}
		c, ctrC := runShared(t, m, shared("c"))
		wantVMs(t, n, "c")
		must(t, m.StopPod(t.Context(), a))
		must(t, m.RemovePod(t.Context(), b))
		wantRuns(t, m, n, c, ctrC)
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// A daemon that starts again finds the VM with all its pods, and what became of each.
func TestShared_Restart(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		a, ctrA := runShared(t, m, shared("a"))
		b, ctrB := runShared(t, m, shared("b"))
		half := mustRun(t, m, shared("half"))
		stopping := aSharedPod(t, m)
		vm := getPod(t, m, a).VM
		m.Close()
		setStored(t, podRecordPath(root, half), "making")
		setStored(t, podRecordPath(root, stopping), "stopping")
		n.AddStrayPod(vm, "stray")
		n.Exit(ctrB, sandbox.Exit{Code: 7, At: time.Now()})

		m = open(t, n, root)
		wantVMs(t, n, "a b")
		wantRuns(t, m, n, a, ctrA)
		synctest.Wait()
		wantEnd(t, getContainer(t, m, ctrB), 7, "Error")
		if p := getPod(t, m, b); p.State != sandbox.PodReady || p.VM != vm {
			t.Errorf("pod b: %+v", p)
		}
		c, ctrC := runShared(t, m, shared("c"))
		wantVMs(t, n, "a b c")
		must(t, m.StopPod(t.Context(), a))
		must(t, m.RemovePod(t.Context(), stopping))
		wantRuns(t, m, n, c, ctrC)
		m.Close()
		m = open(t, n, root)
		defer m.Close()
		wantVMs(t, n, "b c")
		wantRuns(t, m, n, c, ctrC)
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

func TestShared_RestartWithoutVM(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		a, ctr := runShared(t, m, shared("a"))
		b := mustRun(t, m, shared("b"))
		m.Close()
		n.Reboot()
		m = open(t, n, root)
		defer m.Close()
		for _, id := range []string{a, b} {
			if p := getPod(t, m, id); p.State != sandbox.PodNotReady || !strings.Contains(p.Reason, "ended while the daemon was not running") {
				t.Errorf("pod %s is %s (%s)", p.Config.Name, p.State, p.Reason)
			}
		}
		wantEnd(t, getContainer(t, m, ctr), 255, "Unknown")
		mustRun(t, m, shared("c"))
		wantVMs(t, n, "c")
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// A VM that the daemon cannot reach is not touched until one of its pods is stopped; new
// pods get another.
func TestShared_RestartUnreachable(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		a := mustRun(t, m, shared("a"))
		b := mustRun(t, m, shared("b"))
		half := mustRun(t, m, shared("half"))
		m.Close()
		setStored(t, podRecordPath(root, half), "making")
		n.Fail("Open", fmt.Errorf("it hangs: %w", errdefs.ErrUnavailable))
		m = open(t, n, root)
		defer m.Close()
		if got := n.VMs(); !slices.Equal(got, []string{"a b half"}) {
			t.Errorf("VMs after the restart: %q", got)
		}
		for _, id := range []string{a, b} {
			if p := getPod(t, m, id); p.State != sandbox.PodNotReady || !strings.Contains(p.Reason, "it hangs") {
				t.Errorf("pod %s is %s (%s)", p.Config.Name, p.State, p.Reason)
			}
		}
		mustRun(t, m, shared("c"))
		wantVMs(t, n, "a b half", "c")
		must(t, m.StopPod(t.Context(), a))
		wantVMs(t, n, "c")
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// Figures of all pods of a VM are one question.
func TestShared_Usage(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		a, _ := runShared(t, m, shared("a"))
		runShared(t, m, shared("b"))
		mustRun(t, m, podConfig("own"))
		n.TakeCalls()
		all, err := m.PodsUsage(t.Context(), sandbox.PodFilter{}, false)
		must(t, err)
		if len(all) != 3 {
			t.Errorf("figures of %d pods, want 3", len(all))
		}
		if calls := n.TakeCalls(); !slices.Equal(calls, []string{"Stats", "Stats"}) {
			t.Errorf("calls %q, want one for each VM", calls)
		}
		one, err := m.PodUsage(t.Context(), a)
		must(t, err)
		if one.Pod.ID != a || len(one.Containers) != 1 {
			t.Errorf("figures of a pod: %+v", one)
		}
	})
}

// TestShared_Random: many at once, with VMs that die and calls that fail.
func TestShared_Random(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
		m.SetRecordWriter(os.WriteFile)
		n.OnCall(func(string) { time.Sleep(time.Millisecond) })
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(2, uint64(worker)))
				for range 150 {
					pods, err := m.Pods(t.Context(), sandbox.PodFilter{})
					must(t, err)
					var p sandbox.Pod
					if len(pods) > 0 {
						p = pods[r.IntN(len(pods))]
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(30))*time.Millisecond)
					switch r.IntN(9) {
					case 0, 1, 2:
						_, err = m.RunPod(ctx, shared(fmt.Sprint("p", r.IntN(9))))
					case 3, 4:
						_, err = m.CreateContainer(ctx, p.ID, containerConfig("c"))
					case 5:
						err = m.StopPod(ctx, p.ID)
					case 6, 7:
						err = m.RemovePod(ctx, p.ID)
					case 8:
						if r.IntN(4) == 0 && p.VM != "" {
							n.KillVM(p.VM, "killed by the test")
						}
					}
					cancel()
					if err != nil && !expected(err) && !errdefs.IsInvalidArgument(err) && ctx.Err() == nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		n.OnCall(nil)
		for _, vm := range n.VMs() {
			if got := len(strings.Fields(vm)); got > 4 {
				t.Errorf("a VM has %d pods: %s", got, vm)
			}
		}
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

// TestShared_CrashAtEachStep lets the daemon die at each step of what it does with a pod
// beside another, which the next daemon finds as it was.
func TestShared_CrashAtEachStep(t *testing.T) {
	none := func(*testing.T, *sandbox.Manager) string { return "" }
	for name, tt := range map[string]struct {
		prepare func(*testing.T, *sandbox.Manager) string
		op      func(context.Context, *sandbox.Manager, string) error
	}{
		"run-pod": {none, func(ctx context.Context, m *sandbox.Manager, _ string) error {
			_, err := m.RunPod(ctx, shared("p"))
			return err
		}},
		"stop-pod":   {aSharedPod, func(ctx context.Context, m *sandbox.Manager, on string) error { return m.StopPod(ctx, on) }},
		"remove-pod": {aSharedPod, func(ctx context.Context, m *sandbox.Manager, on string) error { return m.RemovePod(ctx, on) }},
	} {
		for step, last := 1, false; !last; step++ {
			t.Run(fmt.Sprintf("%s-%d", name, step), func(t *testing.T) {
				root := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					n := sandboxtest.New()
					m := open(t, n, root)
					pod, ctr := runShared(t, m, shared("bystander"))
					on := tt.prepare(t, m)
					m.SetRecordWriter(func(path string, data []byte, perm fs.FileMode) error {
						if err := n.Step(context.WithoutCancel(t.Context()), "WriteRecord"); err != nil {
							return err
						}
						return os.WriteFile(path, data, perm)
					})
					n.TakeCalls()
					n.FailFrom(step)
					if err := tt.op(t.Context(), m, on); err != nil {
						t.Log(err)
					}
					last = len(n.TakeCalls()) < step
					m.Close()
					n.FailAt()
					m = open(t, n, root)
					defer m.Close()
					wantRuns(t, m, n, pod, ctr)
					pods, err := m.Pods(t.Context(), sandbox.PodFilter{State: sandbox.PodReady})
					must(t, err)
					var ready []string
					for _, p := range pods {
						ready = append(ready, p.Config.Name)
					}
					slices.Sort(ready)
					wantVMs(t, n, strings.Join(ready, " ")) // nothing half-made, and nothing half-gone
					removeAll(t, m)
					wantNothing(t, n, root)
				})
			})
		}
	}
}
