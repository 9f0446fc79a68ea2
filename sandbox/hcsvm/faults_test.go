package hcsvm

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/sandbox"
)

// renaming is a service that tells another RuntimeId than the VM was made with.
type renaming struct {
	*hcsfake.Service
	from, to string
}

func (r renaming) Wait(op hcs.Operation) (string, hcs.HRESULT) {
	document, code := r.Service.Wait(op)
	return strings.ReplaceAll(document, `"RuntimeId":"`+r.from, `"RuntimeId":"`+r.to), code
}

// TestCreate_OtherID: a VM whose sockets are not where they are looked for is not kept.
func TestCreate_OtherID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		const other = "0B4F3C57-0D56-4D2C-9B0F-3C2A1DE0A001"
		w.host = hcs.New(renaming{w.svc, strings.ToUpper(systemID("a")), other})
		w.driver.config.Host = w.host
		_, err := w.driver.Create(t.Context(), w.config(t, "a"))
		if !errors.Is(err, ErrOtherID) || !errdefs.IsInternal(err) || !strings.Contains(err.Error(), other) {
			t.Errorf("Create() = %v, want ErrOtherID with the id", err)
		}
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestStart_NotTerminated: a VM that neither starts nor is terminated ends with its last handle.
func TestStart_NotTerminated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		w := newBubble(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		vm, err := w.driver.Create(t.Context(), w.config(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		w.svc.Fail("HcsStartComputeSystem", 1, hcs.OutOfMemory)
		w.svc.Fail("HcsTerminateComputeSystem", 1, hcs.AccessDenied)
		if err := vm.Start(t.Context()); !errdefs.IsResourceExhausted(err) {
			t.Errorf("Start() = %v, want ResourceExhausted", err)
		}
		<-vm.Done()
		if err := vm.Err(); err == nil || !strings.Contains(err.Error(), "out of memory") {
			t.Errorf("Err() = %v, want why it did not start", err)
		}
		if !strings.Contains(log.String(), "could not be terminated") {
			t.Errorf("log:\n%s", &log)
		}
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestVM_ServiceAway: a service that restarts may take its time; one that stays away leaves the VM to the
// next start of Porthole.
func TestVM_ServiceAway(t *testing.T) {
	const open, tries = "HcsOpenComputeSystem", 150 // more than there are in serviceGrace
	for name, away := range map[string]int{"soon_back": 5, "stays_away": tries} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newBubble(t, Config{})
				vm := runVM(t, w, "a")
				for n := range away {
					w.svc.Fail(open, n+1, hcs.RPCUnavailable)
				}
				begin := time.Now()
				w.svc.Restart(true)
				<-vm.Done()
				err := vm.Err()
				if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "(vmcompute) went away") {
					t.Errorf("Err() = %v", err)
				}
				if took := time.Since(begin); took > serviceGrace+exitGrace {
					t.Errorf("the end took %s", took)
				}
				lost := strings.Contains(err.Error(), "may run on until Porthole starts again") && strings.Contains(err.Error(), "the service does not answer")
				if lost != (name == "stays_away") {
					t.Errorf("Err() = %v", err)
				}
				for n := range tries {
					w.svc.Fail(open, n+1, hcs.OK)
				}
				if _, err := w.driver.EndLeftovers(t.Context(), nil); err != nil {
					t.Errorf("EndLeftovers() = %v", err)
				}
				if left := w.left(t); left != "" {
					t.Errorf("left behind:\n%s", left)
				}
			})
		})
	}
}

// TestEndLeftovers_Gone: one that ends between being listed and being opened is no error.
func TestEndLeftovers_Gone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		vm := runVM(t, w, "a")
		w.svc.Fail("HcsOpenComputeSystem", 1, hcs.SystemNotFound)
		if _, err := w.driver.EndLeftovers(t.Context(), nil); err != nil {
			t.Errorf("EndLeftovers() = %v", err)
		}
		w.svc.Fail("HcsEnumerateComputeSystems", 1, hcs.AccessDenied)
		if _, err := w.driver.EndLeftovers(t.Context(), nil); !errdefs.IsPermissionDenied(err) {
			t.Errorf("EndLeftovers() = %v, want PermissionDenied", err)
		}
		stopVM(t, vm)
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestLate_NotUndone: what nobody waits for and cannot be undone is in the log.
func TestLate_NotUndone(t *testing.T) {
	for name, do := range map[string]func(context.Context, *testing.T, *world, sandbox.VM) error{
		"disk": func(ctx context.Context, t *testing.T, w *world, vm sandbox.VM) error {
			_, err := vm.AttachDisk(ctx, w.disk(t, "scratch"))
			return err
		},
		"NIC": func(ctx context.Context, _ *testing.T, _ *world, vm sandbox.VM) error {
			_, err := vm.AttachNIC(ctx, suiteNIC)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				c := withNICs()
				c.Log = slog.New(slog.NewTextHandler(&log, nil))
				w := newBubble(t, c)
				vm := runVM(t, w, "a")
				release := w.svc.Hold("HcsModifyComputeSystem", 1)
				w.svc.Fail("HcsModifyComputeSystem", 2, hcs.AccessDenied)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := do(ctx, t, w, vm); !errdefs.IsDeadlineExceeded(err) {
					t.Errorf("= %v, want DeadlineExceeded", err)
				}
				release()
				synctest.Wait()
				if !strings.Contains(log.String(), "a "+name+" that nobody waits for was not detached") {
					t.Errorf("log:\n%s", &log)
				}
				stopVM(t, vm)
				if left := w.left(t); left != "" {
					t.Errorf("left behind:\n%s", left)
				}
			})
		})
	}
}

// TestNICs_OddEndpoint: what HNS says is checked before HCS is asked.
func TestNICs_OddEndpoint(t *testing.T) {
	w := newWorld(t, Config{Endpoint: func(context.Context, string, string) (Endpoint, error) {
		return Endpoint{ID: endpointID, MAC: net.HardwareAddr{1, 2, 3}}, nil
	}})
	vm := runVM(t, w, "a")
	if _, err := vm.AttachNIC(t.Context(), suiteNIC); !errdefs.IsInternal(err) || !strings.Contains(err.Error(), endpointID) {
		t.Errorf("AttachNIC() = %v, want Internal that names the endpoint", err)
	}
	if n := w.svc.Calls()["HcsModifyComputeSystem"]; n > 0 {
		t.Errorf("HCS was asked %d times", n)
	}
	stopVM(t, vm)
	if left := w.left(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// TestDriver_Document is what Create sends, but for the console, and makes nothing.
func TestDriver_Document(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.config(t, "0123456789abcdef0123456789abcdef")
	id, doc, err := w.driver.Document(c)
	if err != nil || id != "01234567-89ab-cdef-0123-456789abcdef" {
		t.Errorf("Document() of %s, %v", id, err)
	}
	want := machine{
		vcpus: 2, memoryMiB: 256, kernel: c.Kernel, initrd: c.Initrd, commandLine: "quiet panic=-1", ports: w.driver.config.Ports,
	}.document()
	want.VirtualMachine.Devices.ComPorts = nil
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.VCPUs = 0
	if _, _, err := w.driver.Document(c); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Document() = %v, want InvalidArgument", err)
	}
	if calls := w.svc.Calls(); len(calls) > 0 {
		t.Errorf("HCS was asked: %v", calls)
	}
}
