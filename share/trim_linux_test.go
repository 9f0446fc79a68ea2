package share_test

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
	"github.com/porthole-run/porthole/share/sharetest"
)

// TestKernel_Trim walks far more files than a share keeps, with a real kernel. What is
// mounted below the share stays mounted, and what is open goes on.
func TestKernel_Trim(t *testing.T) {
	const limit, dirs, each = 2000, 40, 250
	host := t.TempDir()
	for d := range dirs {
		dir := filepath.Join(host, fmt.Sprint(d))
		check(t, os.Mkdir(dir, 0o755))
		for f := range each {
			check(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(f)), nil, 0o644))
		}
	}
	check(t, os.WriteFile(filepath.Join(host, "open"), []byte("open"), 0o644))
	b, err := hostfs.Open(host, hostfs.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, b.Close()) })
	guest := sharetest.Mount(t, share.Config{Backend: b, Private: true, Limits: share.Limits{Nodes: limit},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})

	other := t.TempDir()
	check(t, os.WriteFile(filepath.Join(other, "below"), []byte("below"), 0o644))
	for from, at := range map[string]string{other: "0", filepath.Join(other, "below"): "1/0"} {
		at = filepath.Join(guest, at)
		check(t, unix.Mount(from, at, "", unix.MS_BIND, ""))
		t.Cleanup(func() { check(t, unix.Unmount(at, 0)) })
	}
	f, err := os.Open(filepath.Join(guest, "open"))
	check(t, err)
	defer f.Close()
	for range 2 {
		seen := 0
		check(t, filepath.WalkDir(guest, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			seen++
			var st unix.Stat_t
			return unix.Lstat(path, &st)
		}))
		// The root, its folders and a file; of one folder's files another one's only.
		if want := 1 + dirs + 1 + (dirs-1)*each + 1; seen != want {
			t.Errorf("walked over %d files, want %d", seen, want)
		}
	}
	for _, at := range []string{"0/below", "1/0"} {
		if got, err := os.ReadFile(filepath.Join(guest, at)); string(got) != "below" {
			t.Errorf("%s is no longer what is mounted there: %q, %v", at, got, err)
		}
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 0); string(got) != "open" {
		t.Errorf("an open file reads %q, %v", got, err)
	}
}
