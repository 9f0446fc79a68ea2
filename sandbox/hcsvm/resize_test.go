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
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
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

func TestSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		first := runVM(t, w, "first").(*VM)
		path := filepath.Join(w.dir, "state.vmrs")
		if err := first.Save(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if err := first.Err(); err != nil {
			t.Errorf("Err() of a saved VM = %v", err)
		}
		for _, id := range []string{"second", "third"} {
			vm, err := w.driver.Restore(t.Context(), w.config(t, id), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := vm.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			c, err := vm.Dial(t.Context(), wire.Echo)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			defer func() {
				stopVM(t, vm)
				if id == "second" { // the last to stop
					if left := w.left(t); left != "" {
						t.Errorf("left behind:\n%s", left)
					}
				}
			}()
		}
		for _, tc := range []struct {
			path string
			is   func(error) bool
		}{
			{path + ".gone", errdefs.IsNotFound}, {"state.vmrs", errdefs.IsInvalidArgument}, {w.dir + "/kernel", errdefs.IsInternal},
		} {
			if _, err := w.driver.Restore(t.Context(), w.config(t, "fourth"), tc.path); !tc.is(err) {
				t.Errorf("Restore(%s) = %v", tc.path, err)
			}
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
			if err := vm.Save(t.Context(), path); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), op) {
				t.Errorf("%s: Save() = %v, want PermissionDenied", op, err)
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

func TestSave_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		vm := runVM(t, w, "a").(*VM)
		if _, err := vm.AttachDisk(t.Context(), w.disk(t, "layer")); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(w.dir, "state.vmrs")
		if err := vm.Save(t.Context(), path); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Save() of a VM with a disk = %v, want FailedPrecondition", err)
		}
		stopVM(t, vm)

		// One that nobody waits for runs on.
		vm = runVM(t, w, "b").(*VM)
		before := w.svc.String()
		release := w.svc.Hold("HcsSaveComputeSystem", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := vm.Save(ctx, path); !errdefs.IsDeadlineExceeded(err) {
			t.Errorf("Save() = %v, want DeadlineExceeded", err)
		}
		release()
		synctest.Wait()
		if after := w.svc.String(); after != before {
			t.Errorf("after a Save that was given up:\n%swant\n%s", after, before)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the file of a Save that was given up: %v", err)
		}
		stopVM(t, vm)
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}
