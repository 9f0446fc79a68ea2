package sharetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
)

// Mount serves a share and mounts it on this host, through the real relay, until the end
// of the test, and returns the folder or, of a share of one file, the file.
func Mount(t testing.TB, cfg share.Config) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		testneed.Skip(t, "root, to mount")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		testneed.Skip(t, "FUSE: %v", err)
	}
	if os.Getenv("PORTHOLE_RELAY") == "" {
		testneed.Program(t, "gcc")
	}
	dir = filepath.Join(t.TempDir(), "share")
	unmount, err := MountDir(t.Context(), cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
