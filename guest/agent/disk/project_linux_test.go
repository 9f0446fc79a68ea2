package disk

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/internal/testneed"
)

// loop makes a block device of a blank file.
func loop(t *testing.T, size int64) string {
	t.Helper()
	testneed.Root(t)
	testneed.Program(t, "losetup", "mkfs.ext4")
	testneed.File(t, "/dev/loop-control")
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-f", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v\n%s", err, out)
		}
	})
	return dev
}

// reaping is Disks that can make file systems.
func reaping(t *testing.T) *Disks {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	d := &Disks{Mkfs: mkfs, Reaper: reap.New()}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { d.Reaper.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return d
}

// TestMountScratch: a blank disk is mounted whatever the kernel can; where it counts, what
// is written to one project's folder counts for that one.
func TestMountScratch(t *testing.T) {
	dev := loop(t, 64<<20)
	d := reaping(t)
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	target := filepath.Join(t.TempDir(), "s")
	if err := d.mountScratch(t.Context(), f, dev, target, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(context.Background(), target); err != nil {
			t.Error(err)
		}
	})
	a, b := filepath.Join(target, "a"), filepath.Join(target, "b")
	for project, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := d.SetProject(dir, uint32(project+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(a, "file"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	used, err := d.Usage(a, 1)
	if err != nil {
		t.Fatal(err)
	}
	counts, err := wantsProjects(f)
	if err != nil {
		t.Fatal(err)
	}
	if used == nil {
		if counts {
			t.Error("the file system counts projects, and says nothing of them")
		}
		t.Log("this kernel mounts no file system that counts projects")
		return
	}
	if used.Bytes < 1<<20 || used.Bytes > 1<<20+64<<10 || used.Inodes != 2 || used.CapacityBytes == 0 {
		t.Errorf("a folder with a file of 1 MiB takes %+v", used)
	}
	if other, err := d.Usage(b, 2); err != nil || other.Inodes != 1 || other.Bytes > 64<<10 {
		t.Errorf("an empty folder beside it takes %+v, %v", other, err)
	}
}
