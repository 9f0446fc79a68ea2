//go:build linux

package agent

import (
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

// TestAgent_RemovedBeforeMade has removals that pass the calls whose work they take back: what
// was removed is not made after that, and holds no layer whose disk the host has taken away.
func TestAgent_RemovedBeforeMade(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	ctx := t.Context()
	refused := func(what string, err error) {
		t.Helper()
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s that was removed before it was made: %v, want FailedPrecondition", what, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	_, err := h.RemovePod(ctx, &api.RemovePodRequest{PodId: "late"})
	must(err)
	late := podRequest()
	late.PodId = "late"
	_, err = h.CreatePod(ctx, late)
	refused("pod", err)
	_, err = h.DetachShare(ctx, &api.DetachShareRequest{ShareId: 5})
	must(err)
	_, err = h.AttachShare(ctx, &api.AttachShareRequest{ShareId: 5, RootType: unix.S_IFDIR, Channel: "porthole.share.5"})
	refused("share", err)
	if left := m.String(); left != "" {
		t.Errorf("left is %s", left)
	}

	_, err = h.CreatePod(ctx, podRequest())
	must(err)
	empty := m.String()
	_, err = h.RemoveContainer(ctx, &api.RemoveContainerRequest{ContainerId: "late"})
	must(err)
	_, err = h.CreateContainer(ctx, containerRequest("late"))
	refused("container", err)
	if got := m.String(); got != empty {
		t.Errorf("a container that was removed before it was made left\n%s\nwant\n%s", got, empty)
	}

	// Nothing of that is in the way of others.
	_, err = h.CreateContainer(ctx, containerRequest("c"))
	must(err)
	_, err = h.StartContainer(ctx, &api.StartContainerRequest{ContainerId: "c"})
	must(err)
	_, err = h.RemoveExec(ctx, &api.RemoveExecRequest{ContainerId: "c", ExecId: "late"})
	must(err)
	_, err = h.Exec(ctx, &api.ExecRequest{ContainerId: "c", ExecId: "late", Args: []string{"x"}, Stdio: &api.Stdio{}})
	refused("exec", err)
	_, err = h.Exec(ctx, &api.ExecRequest{ContainerId: "c", ExecId: "x", Args: []string{"x"}, Stdio: &api.Stdio{}})
	must(err)
	_, err = h.RemovePod(ctx, &api.RemovePodRequest{PodId: "p"})
	must(err)
	if left := m.String(); left != "" {
		t.Errorf("left is %s", left)
	}
}
