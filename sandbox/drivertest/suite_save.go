package drivertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// SaveSuite checks a driver against the contract of sandbox.Saver and sandbox.Restorer.
func SaveSuite(t *testing.T, e Env) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state"+e.StateSuffix)
	vm := boot(t, e, "suite-save")
	saver, ok := vm.(sandbox.Saver)
	if !ok {
		t.Fatalf("a %T is no Saver", vm)
	}
	count(t, vm, 1)
	read := makeDisk(t, sandbox.DiskVHD, 1<<20, "a read-only disk")
	read.ReadOnly = true
	passing := attach(t, vm, read) // so that addresses are not all in a row
	disk := makeDisk(t, e.writable(), 3<<20, "a writable disk!")
	at := attach(t, vm, disk)
	detach(t, vm, passing)
	writeDisk(t, vm, at, "before the save!")

	t.Run("failing", func(t *testing.T) { testSaveFails(t, vm, saver, state) })

	copied := filepath.Join(dir, "disk"+filepath.Ext(disk.Path))
	begin := time.Now()
	saved, err := saver.SaveTo(t.Context(), state, func(context.Context) error { return copyFile(copied, disk.Path) })
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(state)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("state of %d KiB, saved in %v", st.Size()>>10, time.Since(begin).Round(time.Millisecond))
	if len(saved.Disks) != 1 || saved.Disks[0].Address != at || saved.Disks[0].Disk != disk {
		t.Fatalf("saved disks %+v, want %+v at %+v", saved.Disks, disk, at)
	}
	// It goes on, and what it does now is not in what was saved.
	count(t, vm, 2)
	writeDisk(t, vm, at, "after the save!!")
	_, err = saver.SaveTo(t.Context(), state, func(context.Context) error { return nil })
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("SaveTo() over a file = %v, want AlreadyExists", err)
	}
	stop(t, vm)

	restorer := e.Driver.(sandbox.Restorer)
	content := readFile(t, state)
	testRestoreRefuses(t, e, restorer, saved, state)
	for _, id := range []string{"suite-restore-1", "suite-restore-2"} {
		t.Run(id, func(t *testing.T) {
			own := filepath.Join(t.TempDir(), filepath.Base(copied))
			if err := copyFile(own, copied); err != nil {
				t.Fatal(err)
			}
			s := saved
			s.Disks = []sandbox.SavedDisk{saved.Disks[0]}
			s.Disks[0].Disk.Path = own
			testRestore(t, e, id, s, state)
		})
	}
	if !bytes.Equal(readFile(t, state), content) {
		t.Error("restoring has changed the state")
	}
}

func testSaveFails(t *testing.T, vm sandbox.VM, saver sandbox.Saver, state string) {
	cause := errors.New("injected")
	for name, still := range map[string]func(context.Context, context.CancelFunc) error{
		"copying": func(context.Context, context.CancelFunc) error { return cause },
		"time": func(ctx context.Context, cancel context.CancelFunc) error {
			cancel()
			return errors.Join(ctx.Err(), cause)
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := saver.SaveTo(ctx, state, func(ctx context.Context) error { return still(ctx, cancel) })
		cancel()
		if !errors.Is(err, cause) {
			t.Errorf("%s: SaveTo() = %v, want the injected error", name, err)
		}
		if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: state after an error: %v", name, err)
		}
		echoes(t, vm)
	}
	missing := filepath.Join(filepath.Dir(state), "missing", filepath.Base(state))
	if _, err := saver.SaveTo(t.Context(), missing, func(context.Context) error { return nil }); err == nil {
		t.Error("SaveTo() into a folder that is not there succeeded")
	}
	echoes(t, vm)
}

func testRestoreRefuses(t *testing.T, e Env, r sandbox.Restorer, s sandbox.SavedVM, state string) {
	t.Helper()
	other := s
	other.Facts = "a wooden machine"
	if _, err := r.Restore(t.Context(), e.Config(t, "suite-foreign"), other, state); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Restore() of another machine's = %v, want FailedPrecondition", err)
	}
	if _, err := r.Restore(t.Context(), e.Config(t, "suite-missing"), s, state+".gone"); !errdefs.IsNotFound(err) {
		t.Errorf("Restore() of no file = %v, want NotFound", err)
	}
	if e.Left != nil {
		if left := e.Left(t); left != "" {
			t.Errorf("refused restores left:\n%s", left)
		}
	}
}

func testRestore(t *testing.T, e Env, id string, s sandbox.SavedVM, state string) {
	begin := time.Now()
	vm, err := e.Driver.(sandbox.Restorer).Restore(t.Context(), e.Config(t, id), s, state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, vm) })
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	count(t, vm, 2)
	t.Logf("counts %v after the restore began", time.Since(begin).Round(time.Millisecond))
	at := s.Disks[0].Address
	if a := ask[wire.DiskAnswer](t, vm, wire.Disk, wire.DiskRequest{LUN: at.LUN}); a.Error != "" || string(a.Head) != "before the save!" {
		t.Errorf("disk in the guest: %+v, want what was on it when the VM was saved", a)
	}
	writeDisk(t, vm, at, "the copy's own!!")
	testNIC(t, vm, e)
	more := attach(t, vm, makeDisk(t, e.writable(), 1<<20, "yet another disk"))
	if more == at {
		t.Errorf("a further disk got the address of the first")
	}
	detach(t, vm, more)
	again := filepath.Join(t.TempDir(), "again"+e.StateSuffix)
	if _, err := vm.(sandbox.Saver).SaveTo(t.Context(), again, func(context.Context) error { return nil }); err != nil {
		t.Errorf("SaveTo() of a restored VM = %v", err)
	}
	count(t, vm, 3)
	stop(t, vm)
	if err := vm.Err(); err != nil {
		t.Errorf("Err() = %v", err)
	}
}

// count lets the guest count one more, to want.
func count(t *testing.T, vm sandbox.VM, want int64) {
	t.Helper()
	if a := ask[wire.CountAnswer](t, vm, wire.Count, wire.CountRequest{}); a.N != want {
		t.Errorf("guest has counted to %d, want %d", a.N, want)
	}
}

func echoes(t *testing.T, vm sandbox.VM) {
	t.Helper()
	c := dial(t, vm, wire.Echo)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "still there"); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "still there" {
		t.Fatalf("echo %q, %v", b, err)
	}
}

func writeDisk(t *testing.T, vm sandbox.VM, at sandbox.DiskAddress, head string) {
	t.Helper()
	a := ask[wire.DiskAnswer](t, vm, wire.Disk, wire.DiskRequest{LUN: at.LUN, Write: []byte(head)})
	if a.Error != "" || string(a.Head) != head {
		t.Fatalf("write to disk: %+v", a)
	}
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
