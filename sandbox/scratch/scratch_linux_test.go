package scratch

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
)

const size = 256 << 20

func newDisks(t *testing.T, c Config) *Disks {
	t.Helper()
	c.Dir = filepath.Join(t.TempDir(), "templates")
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// blocks is how much of the file is not holes, in bytes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() != size {
		t.Errorf("%s has %d bytes, want %d", path, fi.Size(), size)
	}
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestFill: an open file gets what a disk of its size has.
func TestFill(t *testing.T) {
	testneed.Program(t, "mkfs.ext4")
	for _, mkfs := range []string{"", "/nowhere/mkfs.ext4"} {
		d := newDisks(t, Config{Mkfs: mkfs, Logger: slog.New(slog.DiscardHandler)})
		path := filepath.Join(t.TempDir(), "made")
		if _, err := d.Create(t.Context(), path, size); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "filled"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := d.Fill(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		made, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		filled, err := os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(made, filled) {
			t.Errorf("with mkfs %q: the file of %d bytes differs from the disk of %d, %v", mkfs, len(filled), len(made), err)
		}
	}
}

func TestCreate(t *testing.T) {
	for name, counts := range map[string]bool{"plain": false, "projects": true} {
		t.Run(name, func(t *testing.T) { testCreate(t, counts) })
	}
}

func testCreate(t *testing.T, counts bool) {
	testneed.Program(t, "mkfs.ext4", "dumpe2fs")
	d := newDisks(t, Config{CountProjects: counts})
	dir := t.TempDir()
	var wg sync.WaitGroup
	paths := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")}
	for _, path := range paths {
		wg.Go(func() {
			disk, err := d.Create(t.Context(), path, size)
			if want := (sandbox.Disk{Path: path, Format: sandbox.DiskRaw}); err != nil || disk != want {
				t.Errorf("Create = %+v, %v; want %+v", disk, err, want)
			}
		})
	}
	wg.Wait()
	for _, path := range paths {
		if used, err := d.Usage(t.Context(), path); err != nil || used == 0 || used != uint64(blocks(t, path)) {
			t.Errorf("Usage = %d, %v; want what the file takes, %d", used, err, blocks(t, path))
		}
		if got := blocks(t, path); got > size/16 {
			t.Errorf("%s takes %d bytes, want it sparse", path, got)
		}
		out, err := exec.Command("dumpe2fs", "-h", path).CombinedOutput()
		if err != nil || strings.Contains(string(out), "has_journal") || strings.Contains(string(out), "Project quota inode") != counts {
			t.Errorf("dumpe2fs: %v\n%s\nwant an ext4 without a journal, project quotas: %t", err, out, counts)
		}
		if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("e2fsck: %v\n%s", err, out)
		}
	}
	templates, err := filepath.Glob(filepath.Join(d.cfg.Dir, "*"))
	if err != nil || len(templates) != 1 {
		t.Errorf("templates = %v, %v; want one", templates, err)
	}
	if err := errors.Join(d.Remove(t.Context(), paths[0]), d.Remove(t.Context(), paths[0])); err != nil {
		t.Errorf("Remove twice = %v", err)
	}
}

func TestCreateWithoutMkfs(t *testing.T) {
	var log bytes.Buffer
	d := newDisks(t, Config{Mkfs: "/nonexistent/mkfs.ext4", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	path := filepath.Join(t.TempDir(), "disk")
	for range 2 { // a disk that is there is replaced
		if _, err := d.Create(t.Context(), path, size); err != nil {
			t.Fatal(err)
		}
		if got := blocks(t, path); got != 0 {
			t.Errorf("a blank disk takes %d bytes", got)
		}
	}
	if got := strings.Count(log.String(), "e2fsprogs"); got != 1 {
		t.Errorf("log speaks %d times of e2fsprogs, want once:\n%s", got, log.String())
	}
}

func TestCreateFailureLeavesNothing(t *testing.T) {
	d := newDisks(t, Config{Mkfs: "false"})
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	if _, err := d.Create(t.Context(), path, size); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Create = %v, want an error that names the disk", err)
	}
	if _, err := d.Create(t.Context(), path, 100); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Create of 100 bytes = %v, want InvalidArgument", err)
	}
	for _, dir := range []string{dir, d.cfg.Dir} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%s holds %v, %v; want nothing", dir, entries, err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, err = io.WriteString(full, "x")
	if err = kindOf(err); !errdefs.IsResourceExhausted(err) {
		t.Errorf("kindOf(ENOSPC) = %v, want ResourceExhausted", err)
	}
}

func TestNewRemovesUnfinished(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ext4-v1-1.img"+partSuffix), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("entries = %v, %v; want none", entries, err)
	}
}

func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	src, err := os.Create(filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	want := make([]byte, 4<<20)
	for _, at := range []int{0, 1 << 20, 3<<20 + 17} {
		copy(want[at:], "data")
		if _, err := src.WriteAt([]byte("data"), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	dst, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := errors.Join(src.Truncate(4<<20), copySparse(dst, src), dst.Truncate(4<<20)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dst.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy differs: %d bytes, %v", len(got), err)
	}
}

func BenchmarkCreate(b *testing.B) {
	d, err := New(Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "disk")
	for b.Loop() {
		if _, err := d.Create(b.Context(), path, 10<<30); err != nil {
			b.Fatal(err)
		}
	}
}
