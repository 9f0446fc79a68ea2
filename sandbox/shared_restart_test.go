package sandbox_test

import (
	"context"
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

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

func TestShared_VMEnds(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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
	})
}

// TestShared_VMEndsUnderStop ends a shared VM while it is asked to let a pod go: the error
// of that call may be there before the news that the VM has ended.
func TestShared_VMEndsUnderStop(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		for range 5 { // which of the two is first is the scheduler's
			one, other := mustRun(t, m, shared("one")), mustRun(t, m, shared("other"))
			vm := getPod(t, m, one).VM
			n.OnCall(func(call string) {
				if call == "RemovePod" {
					n.KillVM(vm, "out of memory")
				}
			})
			must(t, m.StopPod(t.Context(), one))
			n.OnCall(nil)
			wantVMs(t, n)
			must(t, m.RemovePod(t.Context(), one))
			must(t, m.RemovePod(t.Context(), other))
		}
	})
}

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

func TestShared_Random(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
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
	})
}

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
