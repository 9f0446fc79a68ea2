package drivertest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/porthole-run/porthole/guest/image/cpio"
	"github.com/porthole-run/porthole/internal/testneed"
)

// Bundle names the kernel and the initrd of the guest bundle in $PORTHOLE_GUEST, which
// make builds; it skips the test when there is none.
func Bundle(t testing.TB) (kernel, initrd string) {
	t.Helper()
	dir := os.Getenv("PORTHOLE_GUEST")
	if dir == "" {
		testneed.Skip(t, "a guest bundle: make guest, and PORTHOLE_GUEST set to its folder")
	}
	kernel, initrd = filepath.Join(dir, "vmlinux"), filepath.Join(dir, "initrd")
	for _, f := range []string{kernel, initrd} {
		if _, err := os.Stat(f); err != nil {
			testneed.Skip(t, "the guest bundle: %v", err)
		}
	}
	return kernel, initrd
}

// testguest is the suite's init, built once in a process.
var testguest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "testguest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s", "-o", bin,
		"github.com/porthole-run/porthole/sandbox/drivertest/testguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testguest: %w\n%s", err, out)
	}
	return os.ReadFile(bin)
})

// Guest builds the suite's guest: the bundle's kernel, and in dir an initrd that is the
// bundle's with testguest in the agent's place. Any user can read it.
func Guest(t testing.TB, dir string) (kernel, initrd string) {
	t.Helper()
	kernel, base := Bundle(t)
	body, err := testguest()
	if err != nil {
		t.Fatal(err)
	}

	initrd = filepath.Join(dir, "initrd-testguest")
	out, err := os.Create(initrd)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := os.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	n, err := io.Copy(out, in)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel unpacks archives one after the other, later ones over earlier ones,
	// if each begins at a multiple of four bytes.
	var tail bytes.Buffer
	tail.Write(make([]byte, (4-n%4)%4))
	if err := cpio.Write(&tail, []cpio.Entry{{Name: "init", Mode: cpio.TypeFile | 0o755, Body: body}}); err != nil {
		t.Fatal(err)
	}
	if _, err := tail.WriteTo(out); err != nil {
		t.Fatal(err)
	}
	if err := out.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	return kernel, initrd
}
