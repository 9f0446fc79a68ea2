package sandbox_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// used shows a list's containers and the CPU time of each: the fake's use 100 ms between
// two questions to their VM.
func used(t *testing.T, m *sandbox.Manager) string {
	t.Helper()
	list, err := m.ContainersUsage(t.Context(), sandbox.ContainerFilter{})
	must(t, err)
	var out []string
	for _, u := range list {
		cpu := "none"
		if u.Usage.Group != nil {
			cpu = u.Usage.Group.CPU.Usage.String()
		}
		out = append(out, u.Container.Config.Name+" "+cpu)
	}
	return strings.Join(out, ", ")
}

// TestUsage_Sampled: lists within a second are of one answer, but for VMs whose pods or
// containers have changed: these show at once.
func TestUsage_Sampled(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		ctx := t.Context()
		pod, a := runOne(t, m, "a")
		time.Sleep(time.Millisecond) // so that a comes first
		runOne(t, m, "b")
		var got []string
		list := func() { t.Helper(); got = append(got, used(t, m)) }
		list()
		time.Sleep(999 * time.Millisecond)
		list() // of before
		time.Sleep(time.Millisecond)
		list() // a second is over
		k := mustCreate(t, m, pod, containerConfig("k"))
		list() // it has a writable layer
		must(t, m.StartContainer(ctx, k))
		list()
		n.Exit(k, sandbox.Exit{At: time.Now()})
		synctest.Wait()
		list()
		must(t, m.RemoveContainer(ctx, k))
		list()
		// A single one is asked for anew, and with it the next list's.
		_, err := m.ContainerUsage(ctx, a)
		must(t, err)
		list()
		must(t, m.UpdateContainer(ctx, a, sandbox.Resources{MemoryLimit: 32 << 20}))
		list()
		if diff := cmp.Diff([]string{
			"a 100ms, b 100ms",
			"a 100ms, b 100ms",
			"a 200ms, b 200ms",
			"a 300ms, b 200ms, k none",
			"a 400ms, b 200ms, k 400ms",
			"a 500ms, b 200ms, k none",
			"a 600ms, b 200ms",
			"a 700ms, b 200ms",
			"a 800ms, b 200ms",
		}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// With open files it is asked anew, for those alone who ask for them.
		for i, openFiles := range []bool{false, true, true, false} {
			pods, err := m.PodsUsage(ctx, sandbox.PodFilter{ID: pod}, openFiles)
			must(t, err)
			u := pods[0].Containers[0].Usage
			want := []string{"800ms", "900ms", "1s", "1s"}[i]
			if got := u.Group.CPU.Usage.String(); got != want || openFiles && u.Open == nil {
				t.Errorf("%d: %s, open files %v, want %s", i, got, u.Open, want)
			}
		}
	})
}

// TestUsage_SampledShared: a pod that joins a VM shows at once, and so does one that leaves.
func TestUsage_SampledShared(t *testing.T) {
	runAndLeave(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		runShared(t, m, shared("a"))
		count := func() int {
			t.Helper()
			pods, err := m.PodsUsage(t.Context(), sandbox.PodFilter{}, false)
			must(t, err)
			containers, err := m.ContainersUsage(t.Context(), sandbox.ContainerFilter{})
			must(t, err)
			for _, c := range containers {
				if c.Usage.Group == nil {
					t.Errorf("container of %s has no figures", c.Container.PodID)
				}
			}
			return len(pods)*10 + len(containers)
		}
		got := []int{count()}
		b, _ := runShared(t, m, shared("b"))
		got = append(got, count())
		must(t, m.RemovePod(t.Context(), b))
		got = append(got, count())
		if diff := cmp.Diff([]int{11, 22, 11}, got); diff != "" {
			t.Errorf("pods and containers (-want +got):\n%s", diff)
		}
	})
}
