package crilog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
)

func TestOpen_Refuses(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, path := range []string{link, filepath.Join(dir, "folder"), fifo} {
		for _, below := range []string{"", dir} {
			if _, err := Open(path, Options{Dir: below}); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("Open(%s) below %q = %v, want FailedPrecondition", filepath.Base(path), below, err)
			}
		}
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link's target was made: %v", err)
	}
}

// TestOpen_Dir: who may write into a pod's log directory cannot have a file outside of it
// written, nor made.
func TestOpen_Dir(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "pods"), filepath.Join(base, "outside")
	for _, d := range []string{outside, filepath.Join(dir, "real")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"absolute": outside, "relative": "../outside", "twice": "relative", "inside": "real", "dangling": "../no",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	linked := filepath.Join(base, "linked") // as /var/log is on some nodes
	if err := os.Symlink(dir, linked); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{
		"x.log": true, "new/folder/x.log": true, "inside/x.log": true, "real/x.log": true,
		"absolute/x.log": false, "relative/x.log": false, "twice/x.log": false, "dangling/x.log": false,
		"absolute/new/x.log": false, "../outside/x.log": false,
	} {
		for _, d := range []string{dir, linked} {
			l, err := Open(d+"/"+path, Options{Dir: d})
			if ok {
				if err != nil {
					t.Errorf("Open(%s) = %v", path, err)
				} else if err := l.Close(); err != nil {
					t.Error(err)
				}
			} else if !errdefs.IsFailedPrecondition(err) {
				t.Errorf("Open(%s) = %v, want FailedPrecondition", path, err)
			}
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("outside there is %v, %v", left, err)
	}
	if _, err := os.Lstat(filepath.Join(base, "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link's target was made: %v", err)
	}
}

// TestReopen_Dir: a rotation is no way out either, and the log goes on where it was.
func TestReopen_Dir(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "pods"), filepath.Join(base, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "c", "0.log")
	l, err := Open(path, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(filepath.Join(dir, "c"), filepath.Join(dir, "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Reopen = %v, want FailedPrecondition", err)
	}
	if _, err := l.Stdout().Write([]byte("on\n")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "old", "0.log")); err != nil || !strings.Contains(string(b), "on\n") {
		t.Errorf("the old file has %q, %v", b, err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("outside there is %v, %v", left, err)
	}
}
