package entropy

import (
	"crypto/rand"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

// TestSeed gives this machine's kernel some of its own randomness back. That clones of a
// VM differ after it is for the tests in VMs to show.
func TestSeed(t *testing.T) {
	testneed.Root(t)
	b := make([]byte, 64)
	_, _ = rand.Read(b)
	err := Seed(b)
	if errors.Is(err, unix.EPERM) {
		testneed.Skip(t, "the right to seed the kernel's pool: %v", err)
	}
	if err != nil {
		t.Errorf("Seed() = %v", err)
	}
}
