package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// runOne runs a pod with one running container.
func runOne(t *testing.T, m *sandbox.Manager, name string) (pod, container string) {
	t.Helper()
	pod = mustRun(t, m, podConfig(name))
	container = mustCreate(t, m, pod, containerConfig(name))
	must(t, m.StartContainer(t.Context(), container))
	return pod, container
}

func rate(n *uint64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

// TestUsage_Rate: a CPU rate comes from two figures that are far enough apart. The fake's
// containers use 100 ms of CPU between two questions.
func TestUsage_Rate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, t.TempDir())
		defer m.Close()
		pod, ctr := runOne(t, m, "a")
		var got []string
		for _, pause := range []time.Duration{0, 100 * time.Millisecond, 900 * time.Millisecond, 4 * time.Second, 100 * time.Millisecond, 10 * time.Minute} {
			time.Sleep(pause)
			u, err := m.ContainerUsage(t.Context(), ctr)
			must(t, err)
			got = append(got, rate(u.NanoCores))
		}
		want := []string{
			"none",      // the first
			"none",      // too soon
			"200000000", // 200 ms in 1 s
			"25000000",  // 100 ms in 4 s
			"48780487",  // 200 ms in 4.1 s, not 100 ms in 0.1 s
			"none",      // says nothing of now
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		p, err := m.PodUsage(t.Context(), pod)
		must(t, err)
		if len(p.Containers) != 1 || p.Containers[0].Container.ID != ctr || p.Usage.Interfaces[0].Name != "eth0" {
			t.Errorf("PodUsage = %+v", p)
		}
	})
}

// TestUsage_HungVM: VMs that hang cost a list its bound, once, and not the others' figures.
func TestUsage_HungVM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, t.TempDir())
		defer m.Close()
		_, sound := runOne(t, m, "sound")
		var hung string
		for i := range 20 {
			pod, ctr := runOne(t, m, fmt.Sprint("hung", i))
			n.Hang(pod)
			hung = ctr
		}
		begin := time.Now()
		list, err := m.ContainersUsage(t.Context(), sandbox.ContainerFilter{})
		must(t, err)
		if len(list) != 1 || list[0].Container.ID != sound {
			t.Errorf("%d containers, want the one whose VM answers", len(list))
		}
		pods, err := m.PodsUsage(t.Context(), sandbox.PodFilter{}, true)
		must(t, err)
		if len(pods) != 1 || pods[0].Containers[0].Usage.Open == nil {
			t.Errorf("pods: %+v, want the one whose VM answers, with open files", pods)
		}
		if took := time.Since(begin); took != 6*time.Second {
			t.Errorf("two lists took %s, want 3 s each", took)
		}
		if _, err := m.ContainerUsage(t.Context(), hung); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the hung one by itself: %v, want DeadlineExceeded", err)
		}
	})
}

func TestUsage_States(t *testing.T) {
	n := sandboxtest.New()
	m := open(t, n, t.TempDir())
	defer m.Close()
	ctx := t.Context()
	pod, ctr := runOne(t, m, "a")
	made := mustCreate(t, m, pod, containerConfig("made"))

	u, err := m.ContainerUsage(ctx, made)
	must(t, err)
	if u.Usage.Group != nil || u.Usage.Writable == nil {
		t.Errorf("a container that does not run: %+v, want what its layer takes alone", u.Usage)
	}
	for _, unknown := range []error{
		func() error { _, err := m.ContainerUsage(ctx, "nope"); return err }(),
		func() error { _, err := m.PodUsage(ctx, "nope"); return err }(),
	} {
		if !errdefs.IsNotFound(unknown) {
			t.Errorf("unknown id: %v, want NotFound", unknown)
		}
	}
	n.Fail("Stats", fmt.Errorf("an older build: %w", errdefs.ErrNotImplemented))
	if _, err := m.ContainerUsage(ctx, ctr); !errdefs.IsNotImplemented(err) {
		t.Errorf("a VM of an older build: %v, want NotImplemented", err)
	}
	if list, err := m.ContainersUsage(ctx, sandbox.ContainerFilter{}); err != nil || len(list) != 0 {
		t.Errorf("its list: %v, %v, want none", list, err)
	}
	n.Fail("Stats", nil)

	must(t, m.StopPod(ctx, pod))
	if _, err := m.PodUsage(ctx, pod); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a pod that is stopped: %v, want FailedPrecondition", err)
	}
	u, err = m.ContainerUsage(ctx, ctr)
	if err != nil || u.Container.ID != ctr || u.Usage.Writable != nil {
		t.Errorf("a container whose VM is gone: %+v, %v, want no figures", u, err)
	}
	pods, err := m.PodsUsage(ctx, sandbox.PodFilter{}, false)
	if err != nil || len(pods) != 0 {
		t.Errorf("pods: %v, %v, want none", pods, err)
	}
}
