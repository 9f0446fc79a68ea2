package main

import (
	"log/slog"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// TestUsersOfVMsAreTheHosts starts from two daemons with folders of their own: the locks of
// the users that both take VMs' from must be the same files.
func TestUsersOfVMsAreTheHosts(t *testing.T) {
	one, err := config.Parse([]byte(`state = "/run/one"` + "\nroot = \"/var/lib/one\""))
	if err != nil {
		t.Fatal(err)
	}
	two, err := config.Parse([]byte(`state = "/run/two"` + "\nroot = \"/var/lib/two\""))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	a, b := qemuConfig(one, "", log).UIDs, qemuConfig(two, "", log).UIDs
	if a != b || a.Locks == "" {
		t.Errorf("users of VMs: %+v and %+v, want the same", a, b)
	}
}
