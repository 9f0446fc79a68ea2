package shim

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/diskfull"
)

// TestStatus: what kind an error is survives the way to the daemon, and a full disk is one.
func TestStatus(t *testing.T) {
	tests := []struct{ err, kind error }{
		{errors.New("x"), errdefs.ErrUnknown},
		{fmt.Errorf("x: %w", errdefs.ErrNotFound), errdefs.ErrNotFound},
		{fmt.Errorf("copy scratch disk: %w", diskfull.Number), errdefs.ErrResourceExhausted},
		{fmt.Errorf("x: %w: %w", errdefs.ErrDataLoss, diskfull.Number), errdefs.ErrDataLoss},
	}
	for _, tt := range tests {
		got := fromStatus(toStatus(tt.err))
		if !errors.Is(got, tt.kind) || got.Error() != tt.err.Error() {
			t.Errorf("%v arrives as %v, want %v", tt.err, got, tt.kind)
		}
	}
}
