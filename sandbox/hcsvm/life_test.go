package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hvsock"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

func TestNew_Refuses(t *testing.T) {
	if _, err := New(Config{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("New() without a host = %v, want InvalidArgument", err)
	}
}

func TestCreate_Refuses(t *testing.T) {
	w := newWorld(t, Config{})
	for _, tc := range []struct {
		name   string
		change func(*sandbox.VMConfig)
	}{
		{"id", func(c *sandbox.VMConfig) { c.ID = "../x" }},
		{"cpus", func(c *sandbox.VMConfig) { c.VCPUs = 65 }},
		{"memory", func(c *sandbox.VMConfig) { c.MemoryMiB = 63 }},
		{"folder", func(c *sandbox.VMConfig) { c.Dir = c.Kernel }},
		{"relative", func(c *sandbox.VMConfig) { c.Kernel = "kernel" }},
		{"no_file", func(c *sandbox.VMConfig) { c.Kernel = c.Dir }},
	} {
		c := w.config(t, "a")
		tc.change(&c)
		if _, err := w.driver.Create(t.Context(), c); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: Create() = %v, want InvalidArgument", tc.name, err)
		}
	}
	if left := w.left(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// TestCreate_Prints shows a VM as the service has it.
func TestCreate_Prints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, withNICs())
		vm := runVM(t, w, "0123456789abcdef0123456789abcdef")
		ro, rw := w.disk(t, "layer"), w.disk(t, "scratch")
		ro.ReadOnly = true
		for _, d := range []sandbox.Disk{ro, rw} {
			if _, err := vm.AttachDisk(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := vm.AttachNIC(t.Context(), suiteNIC); err != nil {
			t.Fatal(err)
		}
		const id = "01234567-89ab-cdef-0123-456789abcdef"
		want := "vm " + id + " Running of porthole, 256 MB, 2 cpus\n" +
			"  disk " + api.SCSIControllers[0] + ":0 ro " + ro.Path + "\n" +
			"  disk " + api.SCSIControllers[0] + ":1 rw " + rw.Path + "\n" +
			"  nic " + nicID(id, "eth0") + " on " + endpointID + ", 00-15-5D-12-34-56\n" +
			"handle of " + id + "\n" +
			"grant " + rw.Path + " to " + id + "\n"
		if got := w.svc.String(); got != want {
			t.Errorf("String() =\n%swant\n%s", got, want)
		}
		if got, want := w.svc.Groups(), []string{filepath.Join(w.dir, "initrd"), filepath.Join(w.dir, "kernel"), ro.Path}; !slices.Equal(got, sorted(want)) {
			t.Errorf("all VMs may read %v, want %v", got, want)
		}
		stopVM(t, vm)
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// TestVM_Ends lets VMs end in all ways but a Stop, in each state.
func TestVM_Ends(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	system := systemID(id)
	for _, tc := range []struct {
		name string
		end  func(w *world)
		say  string // the VM's error
	}{
		{"panic", func(w *world) {
			w.svc.Crash(system, "<6>x\nKernel panic - not syncing: Attempted to kill init!\n")
		}, "guest panicked: Kernel panic - not syncing: Attempted to kill init!"},
		{"crash", func(w *world) { w.svc.Crash(system, "a\x1b[31mb") }, "guest crashed: a·[31mb"},
		{"crash_without_words", func(w *world) { w.svc.Crash(system, "") }, "guest crashed: parameters 0x1"},
		{"power_off", func(w *world) { w.svc.Exit(system, "GracefulExit") }, "guest ended the vm: GracefulExit"},
		{"worker_died", func(w *world) { w.svc.Exit(system, "UnexpectedExit") }, "0x80370106 the VM ended unexpectedly"},
		{"service_restarted", func(w *world) { w.svc.Restart(true) }, "the Host Compute Service (vmcompute) went away:"},
		{"service_lost_vm", func(w *world) { w.svc.Restart(false) }, "the Host Compute Service (vmcompute) went away:"},
	} {
		for _, when := range []string{"created", "running"} {
			t.Run(tc.name+"_"+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newBubble(t, Config{})
					vm, err := w.driver.Create(t.Context(), w.config(t, id))
					if err != nil {
						t.Fatal(err)
					}
					if when == "running" {
						if err := vm.Start(t.Context()); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
					}
					w.svc.Stray(hcs.Event{Type: hcs.SystemExited, Data: `{}`}) // of a VM that nobody knows
					synctest.Wait()
					if err := vm.Err(); err != nil {
						t.Fatalf("Err() before the end = %v", err)
					}
					tc.end(w)
					<-vm.Done()
					if err := vm.Err(); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), tc.say) {
						t.Errorf("Err() = %v, want Unavailable and %q", err, tc.say)
					}
					if when == "created" {
						if err := vm.Start(t.Context()); !errdefs.IsUnavailable(err) {
							t.Errorf("Start() = %v, want Unavailable", err)
						}
					} else if !strings.Contains(vm.Err().Error(), "Linux version 6.1") {
						t.Errorf("Err() = %v, want the console's end", vm.Err())
					}
					if _, err := vm.AttachDisk(t.Context(), w.disk(t, "late")); !errdefs.IsUnavailable(err) {
						t.Errorf("AttachDisk() = %v, want Unavailable", err)
					}
					stopVM(t, vm)
					if vm.Err() == nil {
						t.Error("Stop after the end made Err nil")
					}
					if left := w.left(t); left != "" {
						t.Errorf("left behind:\n%s", left)
					}
				})
			})
		}
	}
}

// TestCreate_EndsMeanwhile lets the VM end at each call that makes it.
func TestCreate_EndsMeanwhile(t *testing.T) {
	for _, op := range []string{"HcsSetComputeSystemCallback", "HcsGetComputeSystemProperties"} {
		synctest.Test(t, func(t *testing.T) {
			w := newBubble(t, Config{})
			w.svc.Before(op, 1, func() { w.svc.Crash(systemID("a"), "boom") })
			_, err := w.driver.Create(t.Context(), w.config(t, "a"))
			if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "ended while it was made") {
				t.Errorf("%s: Create() = %v, want Unavailable", op, err)
			}
			if left := w.left(t); left != "" {
				t.Errorf("%s: left behind:\n%s", op, left)
			}
		})
	}
}

// TestStart_EndsMeanwhile lets the VM end while it starts.
func TestStart_EndsMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		vm, err := w.driver.Create(t.Context(), w.config(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		w.svc.Before("HcsStartComputeSystem", 1, func() { w.svc.Exit(systemID("a"), "UnexpectedExit") })
		if err := vm.Start(t.Context()); !errdefs.IsUnavailable(err) {
			t.Errorf("Start() = %v, want Unavailable", err)
		}
		select {
		case <-vm.Done():
		default:
			t.Error("Done is open after Start has failed")
		}
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestStart_NeverEnds: a service that hangs ends no earlier than it answers, but Start does.
func TestStart_NeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{StartTimeout: 5 * time.Second})
		vm, err := w.driver.Create(t.Context(), w.config(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		release := w.svc.Hold("HcsStartComputeSystem", 1)
		begin := time.Now()
		if err := vm.Start(t.Context()); !errdefs.IsDeadlineExceeded(err) || !strings.Contains(err.Error(), "HcsStartComputeSystem") {
			t.Errorf("Start() = %v, want DeadlineExceeded", err)
		}
		if took := time.Since(begin); took > 5*time.Second+undoTimeout {
			t.Errorf("Start() took %s", took)
		}
		release()
		<-vm.Done()
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestVM_EndsUnderChange: a change that HCS never finishes keeps neither its caller nor the
// VM's end waiting for ever.
func TestVM_EndsUnderChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		vm := runVM(t, w, "a")
		release := w.svc.Hold("HcsModifyComputeSystem", 1)
		d := w.disk(t, "scratch")
		attached := make(chan error, 1)
		go func() {
			_, err := vm.AttachDisk(t.Context(), d)
			attached <- err
		}()
		synctest.Wait()
		w.svc.Crash(systemID("a"), "boom")
		begin := time.Now()
		<-vm.Done()
		if took := time.Since(begin); took > serviceGrace+exitGrace {
			t.Errorf("the end took %s", took)
		}
		if err := <-attached; !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "boom") {
			t.Errorf("AttachDisk() = %v, want Unavailable and the VM's end", err)
		}
		stopVM(t, vm)
		release()
		synctest.Wait() // for what gives back the disk
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

func TestDial_WaitsForGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		w.mute = true
		vm := runVM(t, w, "a")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := vm.Dial(ctx, wire.Echo); !errdefs.IsDeadlineExceeded(err) || !strings.Contains(err.Error(), "Linux version 6.1") {
			t.Errorf("Dial() = %v, want DeadlineExceeded and the console", err)
		}
		time.AfterFunc(10*time.Second, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.mute = false
		})
		begin := time.Now()
		c, err := vm.Dial(t.Context(), wire.Echo)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if took := time.Since(begin); took < 10*time.Second || took > 10*time.Second+2*lastPause {
			t.Errorf("Dial() took %s, want 10s", took)
		}
		if _, err := vm.Dial(t.Context(), 99); !errors.Is(err, os.ErrPermission) {
			t.Errorf("Dial() of a port that is not open to the host = %v", err)
		}
		// One that waits hears of the end.
		w.mu.Lock()
		w.mute = true
		w.mu.Unlock()
		waiting := make(chan error, 1)
		go func() {
			_, err := vm.Dial(context.WithoutCancel(t.Context()), wire.Echo)
			waiting <- err
		}()
		synctest.Wait()
		w.svc.Crash(systemID("a"), "Kernel panic - not syncing: x")
		if err := <-waiting; !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "Kernel panic") {
			t.Errorf("Dial() of a VM that ends = %v, want Unavailable and the panic", err)
		}
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestDial_EndsWithVM: a dial that does not return is told that the VM has ended.
func TestDial_EndsWithVM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		w.driver.config.Dial = func(ctx context.Context, _ string, _ uint32) (hvsock.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		vm := runVM(t, w, "a")
		go func() {
			time.Sleep(time.Second)
			w.svc.Exit(systemID("a"), "GracefulExit")
		}()
		if _, err := vm.Dial(t.Context(), wire.Echo); !errdefs.IsUnavailable(err) {
			t.Errorf("Dial() = %v, want Unavailable", err)
		}
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

func TestDisks_Many(t *testing.T) {
	w := newWorld(t, Config{})
	vm := runVM(t, w, "a")
	const all = len(api.SCSIControllers) * lunsPerController
	var mu sync.Mutex
	at := map[sandbox.DiskAddress]bool{}
	var wg sync.WaitGroup
	d := w.disk(t, "layer")
	d.ReadOnly = true
	for range all {
		wg.Go(func() {
			a, err := vm.AttachDisk(t.Context(), d)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			at[a] = true
		})
	}
	wg.Wait()
	if len(at) != all {
		t.Errorf("%d disks have %d addresses", all, len(at))
	}
	if _, err := vm.AttachDisk(t.Context(), d); !errdefs.IsResourceExhausted(err) {
		t.Errorf("AttachDisk() of one too many = %v, want ResourceExhausted", err)
	}
	gone := sandbox.DiskAddress{Controller: 2, LUN: 7}
	if err := vm.DetachDisk(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if a, err := vm.AttachDisk(t.Context(), d); err != nil || a != gone {
		t.Errorf("AttachDisk() = %v, %v, want what was freed, %v", a, err, gone)
	}
	stopVM(t, vm)
	if left := w.left(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

func TestDisks_Refuses(t *testing.T) {
	w := newWorld(t, Config{})
	vm := runVM(t, w, "a")
	good := w.disk(t, "good")
	other := w.disk(t, "other")
	if err := os.Rename(other.Path, other.Path+".img"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		disk sandbox.Disk
		is   func(error) bool
	}{
		{"raw", sandbox.Disk{Path: good.Path, Format: sandbox.DiskRaw}, errdefs.IsNotImplemented},
		{"vhdx_named_vhd", sandbox.Disk{Path: good.Path, Format: sandbox.DiskVHDX}, errdefs.IsInvalidArgument},
		{"vhd_named_otherwise", sandbox.Disk{Path: other.Path + ".img"}, errdefs.IsInvalidArgument},
		{"relative", sandbox.Disk{Path: "good.vhd"}, errdefs.IsInvalidArgument},
		{"gone", sandbox.Disk{Path: other.Path}, errdefs.IsNotFound},
	} {
		if _, err := vm.AttachDisk(t.Context(), tc.disk); !tc.is(err) || !strings.Contains(err.Error(), tc.disk.Path) {
			t.Errorf("%s: AttachDisk() = %v", tc.name, err)
		}
	}
	// One that HCS refuses takes no access, and its LUN comes again after all others.
	w.svc.Fail("HcsModifyComputeSystem", 1, hcs.VHDSparse)
	if _, err := vm.AttachDisk(t.Context(), good); !errdefs.IsFailedPrecondition(err) || strings.Contains(w.svc.String(), "grant") {
		t.Errorf("AttachDisk() that HCS refuses = %v\n%s", err, w.svc)
	}
	// A disk that another VM writes on is not shared, and says so.
	second := runVM(t, w, "b")
	if a, err := vm.AttachDisk(t.Context(), good); err != nil || a != (sandbox.DiskAddress{LUN: 1}) {
		t.Fatalf("AttachDisk() = %v, %v, want the second address", a, err)
	}
	if _, err := second.AttachDisk(t.Context(), good); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("AttachDisk() of a disk in use = %v", err)
	}
	stopVM(t, vm)
	stopVM(t, second)
	if left := w.left(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

func TestNICs_Refuses(t *testing.T) {
	w := newWorld(t, Config{})
	many := w.config(t, "many")
	many.NICs = maxNICs + 1
	if _, err := w.driver.Create(t.Context(), many); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Create() with more NICs than Hyper-V gives = %v, want InvalidArgument", err)
	}
	vm := runVM(t, w, "a")
	if _, err := vm.AttachNIC(t.Context(), suiteNIC); !errdefs.IsNotImplemented(err) {
		t.Errorf("AttachNIC() without HNS = %v, want NotImplemented", err)
	}
	if _, err := vm.AttachNIC(t.Context(), sandbox.NIC{Name: "eth0"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("AttachNIC() of nothing = %v, want InvalidArgument", err)
	}
	stopVM(t, vm)

	n := 0
	w = newWorld(t, Config{Endpoint: func(context.Context, string, string) (Endpoint, error) {
		n++
		return Endpoint{ID: fmt.Sprintf("0b4f3c57-0d56-4d2c-9b0f-3c2a1de0a%03d", n), MAC: net.HardwareAddr{0, 21, 93, 0, 0, byte(n)}}, nil
	}})
	vm = runVM(t, w, "a")
	for i := range maxNICs + 1 {
		nic := suiteNIC
		nic.Name = fmt.Sprintf("eth%d", i)
		if _, err := vm.AttachNIC(t.Context(), nic); (err != nil) != (i == maxNICs) || i == maxNICs && !errdefs.IsResourceExhausted(err) {
			t.Errorf("AttachNIC() of NIC %d = %v", i, err)
		}
	}
	stopVM(t, vm)
	if left := w.left(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

func TestEndLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, Config{})
		const pod = "0123456789abcdef0123456789abcdef"
		live := runVM(t, w, pod)
		lost := runVM(t, w, "lost")
		ended, err := w.driver.EndLeftovers(t.Context(), []string{pod, "unknown"})
		if err != nil || !slices.Equal(ended, []string{systemID("lost")}) {
			t.Errorf("EndLeftovers() = %v, %v, want the lost one", ended, err)
		}
		<-lost.Done()
		if err := live.Err(); err != nil {
			t.Errorf("the live VM ended: %v", err)
		}
		w.svc.Fail("HcsTerminateComputeSystem", 1, hcs.AccessDenied)
		if _, err := w.driver.EndLeftovers(t.Context(), nil); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), systemID(pod)) {
			t.Errorf("EndLeftovers() = %v, want PermissionDenied naming the VM", err)
		}
		stopVM(t, live)
		if ended, err := w.driver.EndLeftovers(t.Context(), nil); err != nil || len(ended) > 0 {
			t.Errorf("EndLeftovers() of none = %v, %v", ended, err)
		}
		if left := w.left(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}
