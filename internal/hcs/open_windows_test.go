package hcs

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/testneed"
)

// TestOpen: a host without Hyper-V gets an error that says what to install, and no panic.
func TestOpen(t *testing.T) {
	lib, err := Open()
	if err != nil {
		if !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Open() = %v, want FailedPrecondition", err)
		}
		testneed.Skip(t, "Hyper-V: %v", err)
	}
	if v, err := New(lib).Schema(); err != nil || len(v) == 0 {
		t.Errorf("Schema() = %v, %v", v, err)
	}
}
