package sandbox_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// TestStopContainer_CreatedFails: a container that was asked to end before it was started
// is one that has ended, and not one that its VM may not know.
func TestStopContainer_CreatedFails(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
		id := mustCreate(t, m, mustRun(t, m, podConfig("p")), containerConfig("c"))
		n.Fail("RemoveContainer", errdefs.ErrUnavailable)
		if err := m.StopContainer(t.Context(), id, 0); !errdefs.IsUnavailable(err) {
			t.Errorf("StopContainer = %v, want Unavailable", err)
		}
		wantEnd(t, getContainer(t, m, id), 137, "Error")
		for call, err := range map[string]error{
			"UpdateContainer": m.UpdateContainer(t.Context(), id, sandbox.Resources{CPUShares: 2}),
			"StartContainer":  m.StartContainer(t.Context(), id),
		} {
			if !errdefs.IsFailedPrecondition(err) {
				t.Errorf("%s = %v, want FailedPrecondition", call, err)
			}
		}
		must(t, m.StopContainer(t.Context(), id, 0))
		n.Fail("RemoveContainer", nil)
		must(t, m.RemoveContainer(t.Context(), id))
		if got := n.String(); strings.Contains(got, "container") {
			t.Errorf("node:\n%s\nwant no container", got)
		}
	})
}
