package disk

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSettle: a disk that was settled has all that the kernel knows of its file system: sync
// writes no more. It can then be moved, and used.
func TestSettle(t *testing.T) {
	dev := loop(t, 64<<20)
	d := reaping(t)
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	source, target := filepath.Join(dir, "waits"), filepath.Join(dir, "p", "s")
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil { // private, as the agent's are
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, at := range []string{source, target} {
			if err := d.Unmount(context.Background(), at); err != nil {
				t.Error(err)
			}
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.mountScratch(t.Context(), f, dev, source, "noinit_itable"); err != nil {
		t.Fatal(err)
	}
	if err := d.useOnce(source); err != nil {
		t.Fatal(err)
	}
	if err := settle(source); err != nil {
		t.Fatal(err)
	}
	settled := sum(t, dev)
	unix.Sync()
	if sum(t, dev) != settled {
		t.Error("something was left to be written")
	}
	if err := d.Move(filepath.Join(dir, "nothing"), target); err == nil {
		t.Error("what is not there was moved")
	}
	if err := d.Move(source, target); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the mount there are %v, %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(target, "file"), []byte("x"), 0o644); err != nil {
		t.Error(err)
	}
	unix.Sync()
	if sum(t, dev) == settled {
		t.Error("sync wrote nothing of what was written")
	}
}

// sum is the digest of the file behind a loop device: of what was written to the disk. The device
// itself shows what the kernel has in memory.
func sum(t *testing.T, dev string) [32]byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(dev), "loop/backing_file"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(strings.TrimSpace(string(file)))
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}
