package sandbox_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

const miB = 1 << 20

func TestUpdateContainer(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		pod := mustRun(t, m, podConfig("p"))
		c := containerConfig("c")
		c.Resources = sandbox.Resources{CPUShares: 512, MemoryLimit: 64 * miB, MemorySwapLimit: 64 * miB, Unified: map[string]string{"memory.low": "1"}}
		id := mustCreate(t, m, pod, c)
		wantLimits := func(want string) {
			t.Helper()
			if got := n.String(); !strings.Contains(got, want) {
				t.Errorf("node:\n%s\nwant a container %q", got, want)
			}
		}

		// Created, and memory alone: without swap as before.
		must(t, m.UpdateContainer(t.Context(), id, sandbox.Resources{MemoryLimit: 96 * miB}))
		wantLimits(`created with {"memory":{"limit":100663296,"swap":100663296}}`)
		must(t, m.StartContainer(t.Context(), id))
		must(t, m.UpdateContainer(t.Context(), id, sandbox.Resources{
			CPUQuota: 50_000, OOMScoreAdj: 7, CpusetCPUs: "0", Unified: map[string]string{"pids.max": "9"},
			HugepageLimits: []sandbox.HugepageLimit{{PageSize: "2MB", Limit: 1}},
		}))
		want := sandbox.Resources{
			CPUShares: 512, CPUQuota: 50_000, MemoryLimit: 96 * miB, MemorySwapLimit: 96 * miB, CpusetCPUs: "0",
			Unified: map[string]string{"memory.low": "1", "pids.max": "9"}, HugepageLimits: []sandbox.HugepageLimit{{PageSize: "2MB", Limit: 1}},
		}
		if d := cmp.Diff(want, getContainer(t, m, id).Config.Resources); d != "" {
			t.Errorf("status (-want +got):\n%s", d)
		}

		// What is refused, here or in the guest, changes nothing.
		n.Fail("UpdateContainer", errdefs.ErrInvalidArgument)
		if err := m.UpdateContainer(t.Context(), id, sandbox.Resources{MemoryLimit: 128 * miB}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("UpdateContainer that the guest refuses = %v", err)
		}
		n.Fail("UpdateContainer", nil)
		for field, r := range map[string]sandbox.Resources{
			"linux.memory_swap_limit_in_bytes": {MemorySwapLimit: 1 * miB},
			"linux.memory_limit_in_bytes":      {MemoryLimit: 1},
			"linux.cpuset_cpus":                {CpusetCPUs: "0-900"},
		} {
			if err := m.UpdateContainer(t.Context(), id, r); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), field) {
				t.Errorf("UpdateContainer(%+v) = %v, want InvalidArgument with %s", r, err, field)
			}
		}
		m = restart(t, m, n, root, nil)
		defer m.Close()
		if d := cmp.Diff(want, getContainer(t, m, id).Config.Resources); d != "" {
			t.Errorf("status after a restart (-want +got):\n%s", d)
		}

		must(t, m.StopContainer(t.Context(), id, 0))
		if err := m.UpdateContainer(t.Context(), id, sandbox.Resources{CPUShares: 2}); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("UpdateContainer of one that has ended = %v, want FailedPrecondition", err)
		}
		if err := m.UpdateContainer(t.Context(), "none", sandbox.Resources{}); !errdefs.IsNotFound(err) {
			t.Errorf("UpdateContainer of none = %v, want NotFound", err)
		}
	})
}

func TestUpdateContainer_VMGone(t *testing.T) {
	withContainer(t, "busybox", func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, pod, c string) {
		must(t, m.StartContainer(t.Context(), c))
		n.Fail("UpdateContainer", errors.New("the wire broke"))
		if err := m.UpdateContainer(t.Context(), c, sandbox.Resources{CPUShares: 2}); err == nil {
			t.Error("UpdateContainer = nil, want an error")
		}
		if got := getContainer(t, m, c); got.Phase != sandbox.ContainerRunning || got.Config.Resources.CPUShares != 0 {
			t.Errorf("container = %+v, want it running with the old limits", got)
		}
	})
}
