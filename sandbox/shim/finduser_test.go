package shim

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
)

// TestFoundUser: whom the daemon found reaches the guest as it is, and nobody is made up.
func TestFoundUser(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	if err := r.SetupPod(ctx, podSetup()); err != nil {
		t.Fatal(err)
	}
	for name, found := range map[string]*sandbox.FoundUser{
		"none": nil,
		"root": {Groups: []uint32{0}, Home: "/root"},
		"user": {UID: 7, GID: 8, Groups: []uint32{8, 9}, Home: "/home/x"},
	} {
		c := containerSetup(name, "sleep")
		c.Found = found
		if _, err := r.CreateContainer(ctx, c); err != nil {
			t.Fatal(err)
		}
		p, err := r.vm.guest.find(name, "")
		if err != nil {
			t.Fatal(err)
		}
		u := p.found
		var got *sandbox.FoundUser
		if u != nil {
			got = &sandbox.FoundUser{UID: u.Uid, GID: u.Gid, Groups: u.AdditionalGids, Home: u.Home}
		}
		if d := cmp.Diff(found, got); d != "" {
			t.Errorf("%s (-daemon +guest):\n%s", name, d)
		}
	}
}
