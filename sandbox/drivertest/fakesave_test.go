package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/porthole-run/porthole/sandbox"
)

func TestFake_SaveSuite(t *testing.T) {
	f := NewFake(SuiteGuest)
	SaveSuite(t, Env{
		Driver: f,
		Config: fakeConfig,
		NIC: func(*testing.T) (sandbox.NIC, string, func(*testing.T)) {
			return sandbox.NIC{Name: "eth0", Namespace: "ns", Interface: "eth0"}, "", nil
		},
		Left: func(*testing.T) string { return f.String() },
	})
}

// TestFake_SaveFails: whatever fails there is no file, and the VM goes on or has ended.
func TestFake_SaveFails(t *testing.T) {
	for _, op := range []string{"SaveTo", "SaveTo.state", "SaveTo.resume"} {
		f := NewFake(SuiteGuest)
		vm, err := f.Create(t.Context(), sandbox.VMConfig{ID: "a", Dir: t.TempDir(), VCPUs: 1, MemoryMiB: 64})
		if err != nil {
			t.Fatal(err)
		}
		if err := vm.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("injected")
		f.Fail(op, 1, cause)
		path := filepath.Join(t.TempDir(), "state")
		if _, err := vm.(sandbox.Saver).SaveTo(t.Context(), path, func(context.Context) error { return nil }); !errors.Is(err, cause) {
			t.Errorf("%s: SaveTo() = %v", op, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file is there: %v", op, err)
		}
		if op == "SaveTo.resume" {
			<-vm.Done() // it must not stand still for ever
		} else if vm.(*FakeVM).String() == "" {
			t.Errorf("%s: the VM has ended", op)
		}
		stop(t, vm)
	}
}
