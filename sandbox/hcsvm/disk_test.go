package hcsvm

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/sandbox"
)

// TestDisks_Addresses takes all addresses: one that was freed comes after all others.
func TestDisks_Addresses(t *testing.T) {
	d := disks{luns: map[sandbox.DiskAddress]*disk{}}
	if _, _, err := d.reserve(sandbox.Disk{}); err != nil {
		t.Fatal(err)
	}
	delete(d.luns, sandbox.DiskAddress{})
	const all = uint32(len(api.SCSIControllers) * lunsPerController)
	for i := range all {
		n := (i + 1) % all
		want := sandbox.DiskAddress{Controller: n / lunsPerController, LUN: n % lunsPerController}
		if got, _, err := d.reserve(sandbox.Disk{}); got != want || err != nil {
			t.Fatalf("reserve() = %v, %v, want %v", got, err, want)
		}
	}
	if a, _, err := d.reserve(sandbox.Disk{}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("reserve() in a full VM = %v, %v, want ResourceExhausted", a, err)
	}
}
