package hcsvm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/diskfull"
	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/sandbox"
)

// fakeVHDX makes files of a fixed content, or fails half way.
type fakeVHDX struct {
	fail error
	made uint64
}

func (f *fakeVHDX) create(path string, bytes uint64) error {
	f.made = bytes
	return errors.Join(os.WriteFile(path, []byte("vhdxfile"), 0o600), f.fail)
}

func TestScratch(t *testing.T) {
	ctx := t.Context()
	f := &fakeVHDX{}
	s := &Scratch{create: f.create}
	path := filepath.Join(t.TempDir(), "scratch.img")
	for range 2 { // what is there is replaced
		got, err := s.Create(ctx, path, 10<<30)
		if want := (sandbox.Disk{Path: path + ".vhdx", Format: sandbox.DiskVHDX}); err != nil || got != want || f.made != 10<<30 {
			t.Fatalf("Create() = %+v of %d bytes, %v, want %+v", got, f.made, err, want)
		}
	}
	if err := checkDisk(sandbox.Disk{Path: path + ".vhdx", Format: sandbox.DiskVHDX}); err != nil {
		t.Errorf("a scratch disk cannot be attached: %v", err)
	}
	if n, err := s.Usage(ctx, path); err != nil || n != 8 {
		t.Errorf("Usage() = %d, %v, want 8", n, err)
	}
	for range 2 {
		if err := s.Remove(ctx, path); err != nil {
			t.Errorf("Remove() = %v", err)
		}
	}
	if n, err := s.Usage(ctx, path); err != nil || n != 0 {
		t.Errorf("Usage() of nothing = %d, %v", n, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestScratch_Refuses(t *testing.T) {
	s := &Scratch{create: (&fakeVHDX{}).create}
	path := filepath.Join(t.TempDir(), "scratch.VHDX")
	for _, n := range []int64{-1, 0, 1 << 20, 3<<20 + 1, 65 << 40} {
		if _, err := s.Create(t.Context(), path, n); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Create() of %d bytes = %v, want InvalidArgument", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Create(ctx, path, 3<<20); !errdefs.IsCanceled(err) {
		t.Errorf("Create() = %v, want Canceled", err)
	}
	s.create = (&fakeVHDX{fail: syscall.ENOSPC}).create
	_, err := s.Create(t.Context(), path, 3<<20)
	if got, want := errdefs.IsResourceExhausted(err), diskfull.Is(syscall.ENOSPC); err == nil || got != want {
		t.Errorf("Create() = %v, ResourceExhausted %v, want %v", err, got, want)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a disk that was not made is there: %v", err)
	}
	// A folder is not removed, and what cannot be is told.
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), path, 3<<20); err == nil {
		t.Error("Create() over a folder succeeded")
	}
}

func TestNewScratch(t *testing.T) {
	// On Windows this makes a VHDX; elsewhere it says that there are none.
	d, err := NewScratch().Create(t.Context(), filepath.Join(t.TempDir(), "scratch"), 64<<20)
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 8)
	f, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(head); err != nil || string(head) != "vhdxfile" {
		t.Errorf("the file begins with %q, %v", head, err)
	}
}

// TestScratch_Restore makes a disk of what was packed of one, or leaves nothing.
func TestScratch_Restore(t *testing.T) {
	dir := t.TempDir()
	was := filepath.Join(dir, "was.vhdx")
	content := append(make([]byte, 1<<20), []byte("vhdxfile")...)
	if err := os.WriteFile(was, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(was)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var packed bytes.Buffer
	if err := sparsefile.Pack(t.Context(), &packed, f); err != nil {
		t.Fatal(err)
	}
	s := &Scratch{create: (&fakeVHDX{}).create}
	path := filepath.Join(dir, "scratch.img")
	for range 2 { // what is there is replaced
		got, err := s.Restore(t.Context(), path, bytes.NewReader(packed.Bytes()))
		if want := (sandbox.Disk{Path: path + ".vhdx", Format: sandbox.DiskVHDX}); err != nil || got != want {
			t.Fatalf("Restore() = %+v, %v, want %+v", got, err, want)
		}
		if b, err := os.ReadFile(got.Path); err != nil || !bytes.Equal(b, content) {
			t.Errorf("%d bytes are restored of %d, %v", len(b), len(content), err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		from io.Reader
	}{
		"cut_short": {t.Context(), bytes.NewReader(packed.Bytes()[:packed.Len()-1])},
		"no_pack":   {t.Context(), strings.NewReader("x")},
		"full":      {t.Context(), io.MultiReader(bytes.NewReader(packed.Bytes()[:4]), iotest.ErrReader(syscall.ENOSPC))},
		"given_up":  {ended, bytes.NewReader(packed.Bytes())},
	} {
		_, err := s.Restore(tc.ctx, path, tc.from)
		if err == nil || !strings.Contains(err.Error(), "restore scratch disk "+path) {
			t.Errorf("%s: Restore() = %v, want an error that names the disk", name, err)
		}
		if name == "full" && errdefs.IsResourceExhausted(err) != diskfull.Is(syscall.ENOSPC) {
			t.Errorf("%s: Restore() = %v", name, err)
		}
		if _, err := os.Stat(path + ".vhdx"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the disk is there: %v", name, err)
		}
	}
}
