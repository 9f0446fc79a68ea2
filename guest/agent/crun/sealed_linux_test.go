package crun

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSeal(t *testing.T) {
	program, err := exec.LookPath("echo")
	if err != nil {
		t.Fatal(err)
	}
	f, run, err := Seal(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, err := exec.Command(run, "runs").Output()
	if err != nil || strings.TrimSpace(string(out)) != "runs" {
		t.Errorf("the sealed program says %q, %v", out, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing to the sealed program: %v, want EPERM", err)
	}
	if w, err := os.OpenFile(run, os.O_RDWR, 0); err == nil {
		if _, err := w.Write([]byte("x")); !errors.Is(err, unix.EPERM) {
			t.Errorf("writing to it through its path: %v, want EPERM", err)
		}
		w.Close()
	}
	if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("cutting the sealed program: %v, want EPERM", err)
	}
	if _, _, err := Seal(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Seal of a missing program: %v", err)
	}
}
