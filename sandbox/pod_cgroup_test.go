package sandbox_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

func inCgroup(name string) sandbox.PodConfig {
	c := podConfig(name)
	c.CgroupParent = "/kubepods/" + name
	return c
}

func TestRunPodInCgroupEachStepFails(t *testing.T) {
	eachStep(t, func(*testing.T, *sandbox.Manager) string { return "" },
		func(ctx context.Context, m *sandbox.Manager, _ string) error {
			_, err := m.RunPod(ctx, inCgroup("p"))
			return err
		})
}

func TestRemovePodInCgroupEachStepFails(t *testing.T) {
	eachStep(t, func(t *testing.T, m *sandbox.Manager) string { return mustRun(t, m, inCgroup("p")) },
		func(ctx context.Context, m *sandbox.Manager, pod string) error { return m.RemovePod(ctx, pod) })
}

func TestPodCgroup(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod := mustRun(t, m, inCgroup("p"))
		if got := n.String(); !strings.Contains(got, "cgroup /kubepods/p/"+pod[:8]) {
			t.Errorf("no control group:\n%s", got)
		}
		must(t, m.StopPod(t.Context(), pod))
		if got := n.String(); strings.Contains(got, "cgroup") {
			t.Errorf("after StopPod:\n%s", got)
		}
		_, err := m.RunPod(t.Context(), func() sandbox.PodConfig { c := inCgroup("bad"); c.CgroupParent = "bad"; return c }())
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "cgroup_parent") {
			t.Errorf("RunPod = %v, want InvalidArgument", err)
		}
	})
}

// A VM that its pod's group cannot hold is not in it, and what it may grow to fits where
// it is.
func TestPodCgroupTooSmall(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		n.LimitCgroup("/kubepods/p", 200<<20)
		pod := mustRun(t, m, inCgroup("p"))
		got, err := m.Pod(t.Context(), pod)
		must(t, err)
		if !strings.Contains(got.Ungrouped, "200 MiB") || strings.Contains(n.String(), "cgroup") {
			t.Errorf("reason %q, node:\n%s", got.Ungrouped, n)
		}
		n.LimitCgroup("/kubepods/q", 400<<20)
		q := mustRun(t, m, inCgroup("q"))
		if most := n.Launched(q).MaxMemoryMiB; most != 400 {
			t.Errorf("the VM may have %d MiB, want 400", most)
		}
	})
	n := sandboxtest.New()
	n.LimitCgroup("/kubepods/p", 200<<20)
	c := n.Config(t.TempDir())
	c.CgroupsMust = true
	m, err := sandbox.New(t.Context(), c)
	must(t, err)
	defer m.Close()
	if _, err := m.RunPod(t.Context(), inCgroup("p")); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "overhead") {
		t.Errorf("RunPod = %v, want InvalidArgument that names the overhead", err)
	}
	if got := n.String(); got != "" {
		t.Errorf("left:\n%s", got)
	}
}

func TestPodCgroupAfterRestart(t *testing.T) {
	n, root := sandboxtest.New(), t.TempDir()
	m := open(t, n, root)
	pod := mustRun(t, m, inCgroup("p"))
	m.Close()
	m = open(t, n, root)
	defer m.Close()
	if got := n.String(); !strings.Contains(got, "cgroup /kubepods/p/") {
		t.Errorf("after a restart:\n%s", got)
	}
	must(t, m.RemovePod(t.Context(), pod))
	wantNothing(t, n, root)
}

func TestUpdatePod(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		c := podConfig("p")
		c.Resources = sandbox.Resources{MemoryLimit: 400 << 20, CPUQuota: 200_000} // a VM of 512 MiB and 2 CPUs
		pod := mustRun(t, m, c)
		less := sandbox.Resources{MemoryLimit: 448 << 20, CPUQuota: 150_000}
		must(t, m.UpdatePod(t.Context(), pod, &less, nil))
		must(t, m.UpdatePod(t.Context(), pod, nil, &sandbox.Resources{CPUQuota: 5000}))
		shown := func(want sandbox.Resources) {
			t.Helper()
			p, err := m.Pod(t.Context(), pod)
			must(t, err)
			if p.Config.Resources.MemoryLimit != want.MemoryLimit || p.Config.Resources.CPUQuota != want.CPUQuota || p.Config.Overhead.CPUQuota != 5000 {
				t.Errorf("resources %+v, overhead %+v; want %+v and 5000 µs", p.Config.Resources, p.Config.Overhead, want)
			}
		}
		shown(less)
		for name, r := range map[string]sandbox.Resources{"memory": {MemoryLimit: 449 << 20}, "cpu": {CPUQuota: 200_001}} {
			if err := m.UpdatePod(t.Context(), pod, &r, nil); !errdefs.IsResourceExhausted(err) {
				t.Errorf("%s: UpdatePod beyond the VM = %v, want ResourceExhausted", name, err)
			}
		}
		for name, r := range map[string]sandbox.Resources{"negative": {MemoryLimit: -1}, "cpuset": {CpusetCPUs: "7"}} {
			if err := m.UpdatePod(t.Context(), pod, &r, nil); !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: UpdatePod = %v, want InvalidArgument", name, err)
			}
		}
		shown(less)
		write := m.RecordWriter()
		m.SetRecordWriter(func(string, []byte, fs.FileMode) error { return errors.New("no space left on device") })
		if err := m.UpdatePod(t.Context(), pod, &sandbox.Resources{MemoryLimit: 100 << 20}, nil); err == nil {
			t.Error("UpdatePod succeeds though its record was not written")
		}
		m.SetRecordWriter(write)
		shown(less)
		must(t, m.StopPod(t.Context(), pod))
		if err := m.UpdatePod(t.Context(), pod, &less, nil); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("UpdatePod of a stopped pod = %v, want FailedPrecondition", err)
		}
		if err := m.UpdatePod(t.Context(), "nope", &less, nil); !errdefs.IsNotFound(err) {
			t.Errorf("UpdatePod of no pod = %v, want NotFound", err)
		}
	})
}

// New sums outlive the daemon.
func TestUpdatePodAfterRestart(t *testing.T) {
	n, root := sandboxtest.New(), t.TempDir()
	m := open(t, n, root)
	pod := mustRun(t, m, podConfig("p"))
	must(t, m.UpdatePod(t.Context(), pod, &sandbox.Resources{CPUShares: 77}, nil))
	m.Close()
	m = open(t, n, root)
	defer m.Close()
	p, err := m.Pod(t.Context(), pod)
	must(t, err)
	if p.Config.Resources.CPUShares != 77 {
		t.Errorf("resources after a restart = %+v", p.Config.Resources)
	}
}

// A VM that ran before the pod asked is moved into the pod's group.
func TestPodCgroupOfSpare(t *testing.T) {
	withSpare(t, func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, spare string) {
		if id := mustRun(t, m, inCgroup("p")); id != spare {
			t.Errorf("the pod is %s, its VM %s", id, spare)
		}
		if calls := n.TakeCalls(); !slices.Contains(calls, "EnterCgroup") || len(n.Launched(spare).Cgroups) == 0 {
			t.Errorf("the VM was not moved: %q", calls)
		}
	})
}

func TestPodCgroupOfSpare_EveryStepFails(t *testing.T) {
	for step := 1; step <= maxSteps; step++ {
		withSpare(t, func(t *testing.T, n *sandboxtest.Node, m *sandbox.Manager, _ string) {
			n.FailAt(step)
			_, err := m.RunPod(t.Context(), inCgroup("p"))
			n.FailAt()
			if err == nil {
				step = maxSteps
			}
		})
	}
}

// A VM that pods share is in the group of none of them, and what they were given of it
// stays.
func TestPodCgroupOfShared(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		c := inCgroup("p")
		c.RuntimeHandler = sandboxtest.SharedHandler
		c.Resources = sandbox.Resources{MemoryLimit: 100 << 20}
		pod := mustRun(t, m, c)
		p, err := m.Pod(t.Context(), pod)
		must(t, err)
		if !strings.Contains(p.Ungrouped, "shared") || strings.Contains(n.String(), "cgroup") {
			t.Errorf("reason %q, node:\n%s", p.Ungrouped, n)
		}
		must(t, m.UpdatePod(t.Context(), pod, &sandbox.Resources{MemoryLimit: 90 << 20}, nil))
		for name, bytes := range map[string]int64{"more": 101 << 20, "none": 0} {
			if err := m.UpdatePod(t.Context(), pod, &sandbox.Resources{MemoryLimit: bytes}, nil); !errdefs.IsResourceExhausted(err) {
				t.Errorf("%s: UpdatePod = %v, want ResourceExhausted", name, err)
			}
		}
	})
}
