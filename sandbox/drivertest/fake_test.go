package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

func fakeConfig(t *testing.T, id string) sandbox.VMConfig {
	t.Helper()
	dir := t.TempDir()
	c := sandbox.VMConfig{ID: id, Dir: dir, VCPUs: 1, MemoryMiB: 128, Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd")}
	for _, f := range []string{c.Kernel, c.Initrd} {
		if err := os.WriteFile(f, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestFake_Suite(t *testing.T) {
	f := NewFake(SuiteGuest)
	Suite(t, Env{
		Driver: f,
		Config: fakeConfig,
		NIC: func(*testing.T) (sandbox.NIC, string, func(*testing.T)) {
			return sandbox.NIC{Name: "eth0", Namespace: "/run/netns/x", Interface: "eth0"}, "", nil
		},
		Left: func(*testing.T) string { return f.String() },
	})
}

func TestFake_String(t *testing.T) {
	f := NewFake(nil)
	vm := create(t, Env{Driver: f, Config: fakeConfig}, "a")
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	disk := makeDisk(t, sandbox.DiskRaw, 512, "")
	disk.ReadOnly = true
	attach(t, vm, disk)
	if _, err := vm.AttachNIC(t.Context(), sandbox.NIC{Name: "eth0", Namespace: "/n", Interface: "if0"}); err != nil {
		t.Fatal(err)
	}
	want := "vm a running\n  disk 0:0 ro " + disk.Path + "\n  nic eth0 to if0 in /n\n"
	if got := f.String(); got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	stop(t, vm)
	if got := f.String(); got != "" {
		t.Errorf("String() after Stop = %q, want nothing", got)
	}
}

func TestFake_Fail(t *testing.T) {
	f := NewFake(nil)
	broken := errors.New("broken")
	f.Fail("AttachDisk", 2, broken)
	vm := boot(t, Env{Driver: f, Config: fakeConfig}, "a")
	disk := makeDisk(t, sandbox.DiskRaw, 512, "")
	attach(t, vm, disk)
	if _, err := vm.AttachDisk(t.Context(), disk); !errors.Is(err, broken) {
		t.Errorf("second AttachDisk() = %v, want %v", err, broken)
	}
	attach(t, vm, disk)
	if got := f.Calls("AttachDisk"); got != 3 {
		t.Errorf("Calls = %d, want 3", got)
	}
}

func TestFake_GuestNeverAnswers(t *testing.T) {
	vm := boot(t, Env{Driver: NewFake(nil), Config: fakeConfig}, "a")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := vm.Dial(ctx, 1); !errdefs.IsDeadlineExceeded(err) {
		t.Errorf("Dial() = %v, want DeadlineExceeded", err)
	}
}
