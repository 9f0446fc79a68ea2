package main

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/porthole-run/porthole/share/sharetest"
)

// unwanted are tests that a Linux file system does not pass, and why.
var unwanted = map[string]string{
	"FcntlFlockLocksFile": "wants two handles of one process to exclude each other with fcntl's locks, which belong to the process",
}

// TestGoFuse runs the tests that another project has for file systems over FUSE.
func TestGoFuse(t *testing.T) {
	for _, s := range []struct {
		name string
		open backend
	}{{"hostfs", openHost}, {"ntfs", openNTFS}} {
		t.Run(s.name, func(t *testing.T) {
			b, err := s.open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
			mnt := sharetest.Mount(t, config(b))
			for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
				if why, ok := unwanted[name]; ok {
					t.Logf("leave %s out: it %s", name, why)
					continue
				}
				dir := mnt + "/" + name
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				t.Run(name, func(t *testing.T) { posixtest.All[name](t, dir) })
			}
		})
	}
}
