package memfile

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSeal tries every way to change a sealed file, through a descriptor opened anew too.
func TestSeal(t *testing.T) {
	f, err := New("test", 3*4096)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("before"), 0); err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if err := Seal(f); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Seal() of a file that is mapped for writing = %v, want EBUSY", err)
	}
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	if err := Seal(f); err != nil {
		t.Fatal(err)
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	copied, err := Dup(f)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	for name, f := range map[string]*os.File{"first": f, "opened": again, "copied": copied} {
		fd := int(f.Fd())
		for what, change := range map[string]func() error{
			"write":    func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
			"truncate": func() error { return f.Truncate(4096) },
			"grow":     func() error { return f.Truncate(4 * 4096) },
			"punch":    func() error { return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096) },
			"map":      func() error { _, err := unix.Mmap(fd, 0, 4096, unix.PROT_WRITE, unix.MAP_SHARED); return err },
			"unseal":   func() error { _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, 0x10); return err },
		} {
			if err := change(); !errors.Is(err, unix.EPERM) {
				t.Errorf("%s through the %s descriptor = %v, want EPERM", what, name, err)
			}
		}
		private, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		copy(private, "after!")
		if err := unix.Munmap(private); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 6)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "before" {
			t.Errorf("the file holds %q, %v", b, err)
		}
	}
}
