package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// TestReady: a node that cannot start VMs says so in Status, and what it lacks.
func TestReady(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ driver, qemu, want string }{
		{"qemu", filepath.Join(dir, "gone"), "QEMU cannot be started"},
		{"qemu", plain, "QEMU cannot be started"},
		{"qemu", self, "open guest bundle"}, // there is none
		{"hcs", "", "open guest bundle"},
	} {
		n := node{config: config.Config{VM: config.VM{Driver: tt.driver, QEMU: tt.qemu, Bundle: dir}}}
		if err := n.ready(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ready() with driver %s, %q = %v, want %q", tt.driver, tt.qemu, err, tt.want)
		}
	}
}
