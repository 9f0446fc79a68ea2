package ntfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	sys "golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/sharetest"
)

// TestEcho replaces and exchanges folders as a guest does. NTFS tells of each in several
// notices that do not say who did it: none of them may be raised in the guest again, which
// would take its new folder from it.
func TestEcho(t *testing.T) {
	testneed.Root(t)
	f := newFixture(t, ntfake.Config{})
	dir := sharetest.Mount(t, share.Config{Backend: f.b, Private: true})
	at := func(name string) string { return filepath.Join(dir, name) }
	do := func(i int, errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
	}
	for i := range 100 {
		a, b := at(fmt.Sprint("a", i)), at(fmt.Sprint("b", i))
		do(i, os.Mkdir(a, 0o755), os.Mkdir(b, 0o755), os.WriteFile(filepath.Join(a, "f"), nil, 0o644))
		do(i, sys.Rename(a, b))
		_, err := os.Stat(filepath.Join(b, "f"))
		do(i, err, os.Mkdir(a, 0o755))
		do(i, sys.Renameat2(sys.AT_FDCWD, a, sys.AT_FDCWD, b, sys.RENAME_EXCHANGE))
		_, err = os.Stat(filepath.Join(a, "f"))
		do(i, err)
	}
	for i := range 100 {
		_, err := os.Stat(filepath.Join(at(fmt.Sprint("a", i)), "f"))
		do(i, err, os.Remove(at(fmt.Sprint("b", i))), os.RemoveAll(at(fmt.Sprint("a", i))))
	}
}
