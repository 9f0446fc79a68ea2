package hcsvm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/sandbox"
)

func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		created, err := w.driver.Create(t.Context(), w.config(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		vm := created.(*VM)
		if err := vm.SetMemory(t.Context(), 512); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("SetMemory() before Start = %v, want FailedPrecondition", err)
		}
		if err := vm.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			mib, milliCPUs, weight int
			want                   string
		}{
			{513, 500, 100, "514 MB, 2 cpus\n  limit 25000 weight 100\n"},
			{64, 2000, 1, "64 MB, 2 cpus\n  limit 100000 weight 1\n"},
			{128, 9000, 10000, "128 MB, 2 cpus\n  limit 100000 weight 10000\n"},
			{128, 1, 1, "128 MB, 2 cpus\n  limit 50 weight 1\n"},
		} {
			if err := vm.SetMemory(t.Context(), tc.mib); err != nil {
				t.Error(err)
			}
			if err := vm.SetCPU(t.Context(), tc.milliCPUs, tc.weight); err != nil {
				t.Error(err)
			}
			if got := w.svc.String(); !strings.Contains(got, tc.want) {
				t.Errorf("after %+v:\n%s", tc, got)
			}
		}
		for _, err := range []error{
			vm.SetMemory(t.Context(), 63), vm.SetMemory(t.Context(), 1<<21),
			vm.SetCPU(t.Context(), 0, 1), vm.SetCPU(t.Context(), 1, 0), vm.SetCPU(t.Context(), 1, 10001),
		} {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("a size that makes no sense: %v, want InvalidArgument", err)
			}
		}
		w.svc.Fail("HcsModifyComputeSystem", 1, hcs.NotEnoughMemory)
		if err := vm.SetMemory(t.Context(), 1024); !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "resize vm a") {
			t.Errorf("SetMemory() = %v, want ResourceExhausted", err)
		}
		stopVM(t, vm)
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// nothing is what some savings copy while the VM stands still.
func nothing(context.Context) error { return nil }

func TestRestore_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		vm := runVM(t, w, "first").(*VM)
		d := w.disk(t, "scratch")
		a, err := vm.AttachDisk(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(w.dir, "state.vmrs")
		s, err := vm.SaveTo(t.Context(), path, nothing)
		if err != nil {
			t.Fatal(err)
		}
		stopVM(t, vm)
		at := func(a sandbox.DiskAddress, d sandbox.Disk) []sandbox.SavedDisk {
			return []sandbox.SavedDisk{{Address: a, Disk: d}}
		}
		gone, raw := d, d
		gone.Path, raw.Format = d.Path+".gone.vhd", sandbox.DiskRaw
		for name, tc := range map[string]struct {
			path  string
			disks []sandbox.SavedDisk
			is    func(error) bool
		}{
			"gone":          {path + ".gone", s.Disks, errdefs.IsNotFound},
			"relative":      {"state.vmrs", s.Disks, errdefs.IsInvalidArgument},
			"foreign":       {w.dir + "/kernel", s.Disks, errdefs.IsInternal},
			"no_disk":       {path, at(a, gone), errdefs.IsNotFound},
			"raw_disk":      {path, at(a, raw), errdefs.IsNotImplemented},
			"fewer_disks":   {path, nil, errdefs.IsInternal},
			"other_address": {path, at(sandbox.DiskAddress{LUN: 9}, d), errdefs.IsInternal},
			"no_address":    {path, at(sandbox.DiskAddress{LUN: 64}, d), errdefs.IsInvalidArgument},
			"no_controller": {path, at(sandbox.DiskAddress{Controller: 4}, d), errdefs.IsInvalidArgument},
			"twice":         {path, append(at(a, d), at(a, d)...), errdefs.IsInvalidArgument},
		} {
			s := s
			s.Disks = tc.disks
			if _, err := w.driver.Restore(t.Context(), w.config(t, "second"), s, tc.path); !tc.is(err) {
				t.Errorf("%s: Restore() = %v", name, err)
			}
		}
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestSave_Fails lets each of its steps fail: the VM runs on, and there is no file.
func TestSave_Fails(t *testing.T) {
	for _, op := range []string{
		"HcsCreateEmptyRuntimeStateFile", "HcsGrantVmAccess", "HcsPauseComputeSystem", "HcsSaveComputeSystem", "HcsRevokeVmAccess",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newBubble(t, Config{})
			vm := runVM(t, w, "a").(*VM)
			before := w.svc.String()
			w.svc.Fail(op, 1, hcs.AccessDenied)
			path := filepath.Join(w.dir, "state.vmrs")
			if _, err := vm.SaveTo(t.Context(), path, nothing); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), op) {
				t.Errorf("%s: SaveTo() = %v, want PermissionDenied", op, err)
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("%s: the file is there: %v", op, err)
			}
			if after := w.svc.String(); after != before {
				t.Errorf("%s: left behind:\n%sbefore:\n%s", op, after, before)
			}
			stopVM(t, vm)
			if left := w.left(t); left != "" {
				t.Errorf("%s: left behind:\n%s", op, left)
			}
		})
	}
}

// TestSave_NoResume: a VM that cannot go on is ended, and says why.
func TestSave_NoResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		vm := runVM(t, w, "a").(*VM)
		w.svc.Fail("HcsResumeComputeSystem", 1, hcs.AccessDenied)
		path := filepath.Join(w.dir, "state.vmrs")
		if _, err := vm.SaveTo(t.Context(), path, nothing); err == nil {
			t.Error("SaveTo() = nil")
		}
		<-vm.Done()
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the file is there: %v", err)
		}
		stopVM(t, vm)
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestSave_Late: a caller's time ends while HCS saves. SaveTo returns once the VM runs on.
func TestSave_Late(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		vm := runVM(t, w, "b").(*VM)
		before := w.svc.String()
		release := w.svc.Hold("HcsSaveComputeSystem", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			time.Sleep(time.Minute)
			release()
		}()
		path := filepath.Join(w.dir, "state.vmrs")
		if _, err := vm.SaveTo(ctx, path, func(ctx context.Context) error { return ctx.Err() }); !errdefs.IsDeadlineExceeded(err) {
			t.Errorf("SaveTo() = %v, want DeadlineExceeded", err)
		}
		if after := w.svc.String(); after != before {
			t.Errorf("after a SaveTo whose time had ended:\n%swant\n%s", after, before)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the file: %v", err)
		}
		stopVM(t, vm)
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}
