package image_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/guest/image/cpio"
	"github.com/porthole-run/porthole/guest/image/kernelimage"
	"github.com/porthole-run/porthole/internal/testneed"
)

// openBundle opens the bundle that PORTHOLE_GUEST names.
func openBundle(t *testing.T) *image.Bundle {
	t.Helper()
	dir := os.Getenv("PORTHOLE_GUEST")
	if dir == "" {
		testneed.Skip(t, "a guest bundle: make guest, and PORTHOLE_GUEST set to its folder")
	}
	b, err := image.Open(dir)
	if err != nil {
		testneed.Skip(t, "the guest bundle: %v", err)
	}
	return b
}

func TestBundle_IsWhole(t *testing.T) {
	b := openBundle(t)
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	vmlinux, err := os.ReadFile(b.Kernel())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kernelimage.PVHEntry(vmlinux); err != nil {
		t.Error(err)
	}
	const limit = 100e6
	var size int64
	for _, f := range b.Manifest().Files {
		size += f.Size
	}
	if size > limit {
		t.Errorf("the bundle has %d bytes, the limit is %d", size, int64(limit))
	}
}

// TestBundle_Boots starts the bundle's kernel and the bundle's initrd with
// another /init laid over it, and waits for what that prints: it proves that
// the kernel gets to user space, that the modules load in the order of their
// list, that the programs run, and that a restart ends QEMU. The real agent is
// tested where a driver talks to it.
func TestBundle_Boots(t *testing.T) {
	b := openBundle(t)
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		testneed.Skip(t, "QEMU: %v: apt-get install qemu-system-x86", err)
	}
	initrd := overlaidInitrd(t, b)

	// Far above what a boot takes (2 s), as other tests may keep the machine busy.
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	args := append([]string{"console=ttyS0"}, image.KernelArgs(b.Manifest().Kernel.Flavour)...)
	args = append(args, image.MicroVMArgs(tscKHz(t))...)
	cmd := exec.CommandContext(ctx, qemu,
		"-M", "microvm,pit=off,pic=off,rtc=on,accel=tcg", "-cpu", "max", "-m", "256",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-device", "virtio-serial-device", "-device", "virtio-scsi-device",
		"-chardev", "null,id=port", "-device", "virtserialport,chardev=port,name=porthole.test",
		"-kernel", b.Kernel(), "-initrd", initrd, "-append", strings.Join(args, " "))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("QEMU: %v (%v); console:\n%s", err, context.Cause(ctx), out)
	}
	console := strings.ReplaceAll(string(out), "\r", "")
	for _, want := range []string{
		"init: start " + b.Manifest().Kernel.Release,
		"init: port porthole.test",
		"init: filesystem ext4", "init: filesystem overlay",
		"init: crun version",
		"init: mke2fs made a file system",
		"init: end",
	} {
		if !strings.Contains(console, want) {
			t.Errorf("the guest did not say %q", want)
		}
	}
	if strings.Contains(console, "init: error") || t.Failed() {
		t.Errorf("console:\n%s", console)
	}
}

// overlaidInitrd appends an archive with the test's /init to the bundle's
// initrd: the kernel unpacks one after the other.
func overlaidInitrd(t *testing.T, b *image.Bundle) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "init")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build test init: %v\n%s", err, out)
	}
	body, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	initrd, err := os.ReadFile(b.Initrd())
	if err != nil {
		t.Fatal(err)
	}
	all := bytes.NewBuffer(initrd)
	if err := cpio.Write(all, []cpio.Entry{{Name: "init", Mode: cpio.TypeFile | 0o755, Body: body}}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "initrd")
	if err := os.WriteFile(name, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
