package ntfs_test

import (
	"os"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share/card"
)

// TestModel compares random operations over the fake with the host's own file system.
func TestModel(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	oracle, err := card.NewReal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := oracle.Close(); err != nil {
			t.Error(err)
		}
	})
	for seed := range uint64(4) {
		d, err := card.CompareModel(t.Context(), mount(t), oracle, card.ModelOptions{Seed: seed, Steps: 300})
		if err != nil {
			t.Fatal(err)
		}
		if d != nil {
			t.Error(d)
		}
	}
}
