package shim

import (
	"testing"

	"github.com/containerd/errdefs"
)

// TestRemovedBeforeMade has removals that pass the calls whose work they take back.
func TestRemovedBeforeMade(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	if err := r.RemovePod(ctx, "late"); err != nil {
		t.Fatal(err)
	}
	late := podSetup()
	late.PodID = "late"
	if err := r.SetupPod(ctx, late); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("SetupPod of a pod that was removed = %v, want FailedPrecondition", err)
	}
	if err := r.SetupPod(ctx, podSetup()); err != nil {
		t.Fatal(err)
	}
	empty := r.vm.String()
	if err := r.RemoveContainer(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateContainer(ctx, containerSetup("c", "cat")); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("CreateContainer of one that was removed = %v, want FailedPrecondition", err)
	}
	if got := r.vm.String(); got != empty {
		t.Errorf("the VM has %s, want %s", got, empty)
	}
	if _, err := r.CreateContainer(ctx, containerSetup("other", "cat")); err != nil {
		t.Errorf("CreateContainer of another = %v", err)
	}
}
