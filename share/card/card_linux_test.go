package card

import (
	"os"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
)

// hostFolder is a folder of the host's that other users may go into.
func hostFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = d[:strings.LastIndexByte(d, '/')] {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestHost runs the checks on the file system of the host's temporary folder: what they
// want is what Linux does.
func TestHost(t *testing.T) {
	testneed.Root(t)
	sys, err := NewReal(hostFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := Run(t.Context(), sys, Options{System: "host", Exceptions: Exceptions})
	if c.Count(Passed) != len(c.Results) {
		var b strings.Builder
		_ = c.Print(&b)
		t.Error(b.String())
	}
}
