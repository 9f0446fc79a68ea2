package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

var suiteNIC = sandbox.NIC{Name: "eth0", Namespace: "ns", Interface: endpointID}

// wholeLife does all that a driver can with a VM, and returns the first error.
func wholeLife(t *testing.T, w *world) (err error) {
	vm, err := w.driver.Create(t.Context(), w.config(t, "life"))
	if err != nil {
		return err
	}
	defer func() {
		serr := vm.Stop(t.Context())
		if serr != nil { // what HCS refused may be tried again
			if again := vm.Stop(t.Context()); again != nil {
				t.Errorf("second Stop() = %v", again)
			}
		}
		if err == nil {
			err = serr
		}
	}()
	if err := vm.Start(t.Context()); err != nil {
		return err
	}
	c, err := vm.Dial(t.Context(), wire.Echo)
	if err != nil {
		return err
	}
	c.Close()
	layer := w.disk(t, "layer")
	layer.ReadOnly = true
	for _, d := range []sandbox.Disk{layer, w.disk(t, "scratch")} {
		a, err := vm.AttachDisk(t.Context(), d)
		if err != nil {
			return err
		}
		if err := vm.DetachDisk(t.Context(), a); err != nil {
			return err
		}
	}
	if _, err := vm.AttachDisk(t.Context(), w.disk(t, "stays")); err != nil {
		return err
	}
	if _, err := vm.AttachNIC(t.Context(), suiteNIC); err != nil {
		return err
	}
	return vm.DetachNIC(t.Context(), "eth0")
}

// classes are failures of each kind and what errors have to say of them.
var classes = []struct {
	code hcs.HRESULT
	is   func(error) bool
	say  string
}{
	{hcs.AccessDenied, errdefs.IsPermissionDenied, "Hyper-V Administrators"},
	{0xC037010E, errdefs.IsNotFound, "no such VM"}, // the other family
	{hcs.SystemAlreadyExists, errdefs.IsAlreadyExists, "hcsdiag"},
	{hcs.OutOfMemory, errdefs.IsResourceExhausted, "lower the VM's memory"},
	{hcs.ServiceNotAvailable, errdefs.IsUnavailable, "Start-Service vmcompute"},
	{hcs.ServiceStopped, errdefs.IsUnavailable, "the service was not started"},
	{hcs.OperationTimeout, errdefs.IsDeadlineExceeded, "took too long"},
	{0x8BADF00D, errdefs.IsInternal, "0x8badf00d"},
}

// TestEveryStepFails lets each call of each function fail, at once and at its end.
func TestEveryStepFails(t *testing.T) {
	calls := map[string]int{}
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, withNICs())
		if err := wholeLife(t, w); err != nil {
			t.Fatal(err)
		}
		calls = w.svc.Calls()
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
	if len(calls) < 9 {
		t.Fatalf("only these functions are called: %v", calls)
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		for n := 1; n <= calls[name]; n++ {
			for i, class := range classes {
				failOnce(t, name, n, class.code, class.is, class.say, false)
				if i == 0 { // how a call fails and with what do not depend on each other
					failOnce(t, name, n, class.code, class.is, class.say, true)
				}
			}
		}
	}
}

func failOnce(t *testing.T, name string, n int, code hcs.HRESULT, is func(error) bool, say string, refuse bool) {
	what := fmt.Sprintf("call %d of %s, %v, refused %v", n, name, code, refuse)
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		c := withNICs()
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		w := newBubble(t, c)
		fail := w.svc.Fail
		if refuse {
			fail = w.svc.Refuse
		}
		fail(name, n, code)
		err := wholeLife(t, w)
		switch {
		case name == "HcsCreateOperation": // has no code
			is, say = errdefs.IsResourceExhausted, "HcsCreateOperation"
		case hasEnded(&hcs.Error{Code: code}) && strings.Contains(name, "Terminate"):
			if err != nil { // what was to be, is
				t.Errorf("%s: %v", what, err)
			}
			is = nil
		case name == "HcsRevokeVmAccess" && n == 2:
			// Of a VM that has ended: there is nobody to tell, and nothing to try again.
			if err != nil || !strings.Contains(log.String(), say) {
				t.Errorf("%s: %v, log %s", what, err, &log)
			}
			if left := w.left(t); strings.Count(left, "\n") != 1 || !strings.HasPrefix(left, "grant ") {
				t.Errorf("%s: left behind:\n%s", what, left)
			}
			return
		}
		if is != nil && (!is(err) || !strings.Contains(err.Error(), say)) {
			t.Errorf("%s: %v, want it to say %q", what, err, say)
		}
		var e *hcs.Error
		if is != nil && !errors.As(err, &e) {
			t.Errorf("%s: %v is no hcs.Error", what, err)
		}
		if left := w.left(t); left != "" {
			t.Errorf("%s: left behind:\n%s", what, left)
		}
	})
}

// TestContextEnds lets the context end in the middle of each call: nothing that HCS then
// does is left.
func TestContextEnds(t *testing.T) {
	attach := func(ctx context.Context, w *world, vm sandbox.VM, d sandbox.Disk) error {
		_, err := vm.AttachDisk(ctx, d)
		return err
	}
	for _, tc := range []struct {
		name string
		op   string
		n    int // of the calls from when the VM runs
		do   func(ctx context.Context, w *world, vm sandbox.VM, d sandbox.Disk) error
	}{
		{"attach_disk", "HcsModifyComputeSystem", 1, attach},
		{"attach_nic", "HcsModifyComputeSystem", 1, func(ctx context.Context, _ *world, vm sandbox.VM, _ sandbox.Disk) error {
			_, err := vm.AttachNIC(ctx, suiteNIC)
			return err
		}},
		{"create", "HcsCreateComputeSystem", 1, func(ctx context.Context, w *world, _ sandbox.VM, _ sandbox.Disk) error {
			_, err := w.driver.Create(ctx, sandbox.VMConfig{
				ID: "second", Dir: w.dir, VCPUs: 1, MemoryMiB: 64, Kernel: w.dir + "/kernel", Initrd: w.dir + "/initrd",
			})
			return err
		}},
		{"create_properties", "HcsGetComputeSystemProperties", 1, func(ctx context.Context, w *world, _ sandbox.VM, _ sandbox.Disk) error {
			_, err := w.driver.Create(ctx, sandbox.VMConfig{
				ID: "second", Dir: w.dir, VCPUs: 1, MemoryMiB: 64, Kernel: w.dir + "/kernel", Initrd: w.dir + "/initrd",
			})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newBubble(t, withNICs())
				vm := runVM(t, w, "first")
				before := w.svc.String()
				release := w.svc.Hold(tc.op, tc.n)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				d := w.disk(t, "scratch")
				begin := time.Now()
				ended := make(chan error, 1)
				go func() { ended <- tc.do(ctx, w, vm, d) }()
				time.Sleep(time.Minute)
				release()
				synctest.Wait()
				if err := <-ended; !errdefs.IsDeadlineExceeded(err) {
					t.Errorf("= %v after %s, want DeadlineExceeded", err, time.Since(begin))
				}
				if after := w.svc.String(); after != before {
					t.Errorf("left behind:\n%sbefore:\n%s", after, before)
				}
				// What was given up can be done after all.
				if _, err := vm.AttachDisk(t.Context(), d); err != nil {
					t.Error(err)
				}
				stopVM(t, vm)
				if left := w.left(t); left != "" {
					t.Errorf("left behind:\n%s", left)
				}
			})
		})
	}
}

// newBubble is newWorld for a synctest bubble.
func newBubble(t *testing.T, c Config) *world {
	t.Helper()
	w := newWorld(t, c)
	w.plain = true
	return w
}

func runVM(t *testing.T, w *world, id string) sandbox.VM {
	t.Helper()
	vm, err := w.driver.Create(t.Context(), w.config(t, id))
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return vm
}

func stopVM(t *testing.T, vm sandbox.VM) {
	t.Helper()
	if err := vm.Stop(t.Context()); err != nil {
		t.Errorf("Stop() = %v", err)
	}
}
