package hcs_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
)

const vmID = "01234567-89ab-cdef-0123-456789abcdef"

// document is the least that the fake takes.
func document(t *testing.T, svc *hcsfake.Service) hcs.ComputeSystem {
	t.Helper()
	kernel := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(kernel, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := svc.GrantGroup(kernel); code.Failed() {
		t.Fatal(code)
	}
	const sddl = "D:P(A;;FA;;;SY)"
	return hcs.ComputeSystem{
		Owner: "porthole", SchemaVersion: hcs.Version{Major: 2, Minor: 1}, ShouldTerminateOnLastHandleClosed: true,
		VirtualMachine: hcs.VirtualMachine{
			Chipset:         hcs.Chipset{LinuxKernelDirect: hcs.LinuxKernelDirect{KernelFilePath: kernel, InitRdPath: kernel, KernelCmdLine: "x"}},
			ComputeTopology: hcs.ComputeTopology{Memory: hcs.Memory{SizeInMB: 64}, Processor: hcs.Processor{Count: 1}},
			Devices: hcs.Devices{HvSocket: hcs.HvSocket{HvSocketConfig: hcs.HvSocketSystemConfig{
				DefaultBindSecurityDescriptor: sddl, DefaultConnectSecurityDescriptor: sddl,
			}}, Scsi: map[string]hcs.Scsi{}},
		},
	}
}

func nothingLeft(t *testing.T, svc *hcsfake.Service) {
	t.Helper()
	if left := svc.String(); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	if m := svc.Misuse(); len(m) > 0 {
		t.Errorf("misused: %v", m)
	}
}

func TestHost_Life(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := hcsfake.New()
		host := hcs.New(svc)
		ctx := t.Context()
		var events []hcs.EventType
		s, err := host.Create(ctx, vmID, document(t, svc), func(e hcs.Event) { events = append(events, e.Type) })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		list, err := host.List(ctx, "porthole")
		want := []hcs.Properties{{ID: vmID, SystemType: "VirtualMachine", Owner: "porthole", RuntimeID: strings.ToUpper(vmID), State: "Running"}}
		if diff := cmp.Diff(want, list); diff != "" || err != nil {
			t.Errorf("List() %v (-want +got):\n%s", err, diff)
		}
		if list, err := host.List(ctx, "other"); err != nil || len(list) > 0 {
			t.Errorf("List() of another owner = %v, %v", list, err)
		}
		if v, err := host.Schema(); err != nil || !cmp.Equal(v, []hcs.Version{{Major: 2, Minor: 1}, {Major: 2, Minor: 5}}) {
			t.Errorf("Schema() = %v, %v", v, err)
		}
		svc.Crash(vmID, "boom")
		synctest.Wait()
		if want := []hcs.EventType{hcs.SystemCrashReport, hcs.SystemExited}; !cmp.Equal(events, want) {
			t.Errorf("events = %v, want %v", events, want)
		}
		if err := s.Terminate(ctx); !hcs.HasCode(err, hcs.SystemAlreadyStopped) {
			t.Errorf("Terminate() of what has ended = %v", err)
		}
		for range 2 {
			if err := s.Close(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := s.Start(ctx); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Start() after Close = %v, want FailedPrecondition", err)
		}
		host.Close()
		if _, err := host.Create(ctx, vmID, hcs.ComputeSystem{}, nil); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Create() after Close = %v, want FailedPrecondition", err)
		}
		nothingLeft(t, svc)
	})
}

// TestHost_RefusesDocument has the fake find what is wrong in a document.
func TestHost_RefusesDocument(t *testing.T) {
	svc := hcsfake.New()
	host := hcs.New(svc)
	for _, tc := range []struct {
		say    string
		change func(*hcs.ComputeSystem)
	}{
		{"SizeInMB is 63, which is odd", func(d *hcs.ComputeSystem) { d.VirtualMachine.ComputeTopology.Memory.SizeInMB = 63 }},
		{"EnableDeferredCommit needs AllowOvercommit", func(d *hcs.ComputeSystem) { d.VirtualMachine.ComputeTopology.Memory.EnableDeferredCommit = true }},
		{"Owner is ,", func(d *hcs.ComputeSystem) { d.Owner = "" }},
		{"BackingPageSize is small", func(d *hcs.ComputeSystem) { d.VirtualMachine.ComputeTopology.Memory.BackingPageSize = "small" }},
		{"NamedPipe is COM1", func(d *hcs.ComputeSystem) {
			d.VirtualMachine.Devices.ComPorts = map[string]hcs.ComPort{"0": {NamedPipe: "COM1"}}
		}},
		{`has a key "0"`, func(d *hcs.ComputeSystem) { d.VirtualMachine.Devices.Scsi = map[string]hcs.Scsi{"0": {}} }},
		{"Minor is 9", func(d *hcs.ComputeSystem) { d.SchemaVersion.Minor = 9 }},
	} {
		d := document(t, svc)
		tc.change(&d)
		_, err := host.Create(t.Context(), vmID, d, func(hcs.Event) {})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tc.say) {
			t.Errorf("Create() = %v, want InvalidArgument and %q", err, tc.say)
		}
	}
	host.Close()
	nothingLeft(t, svc)
}

// TestHost_CreateLeft ends what HCS makes when nobody waits for it any more.
func TestHost_CreateLeft(t *testing.T) {
	for _, code := range []hcs.HRESULT{hcs.OK, hcs.AccessDenied} {
		synctest.Test(t, func(t *testing.T) {
			svc := hcsfake.New()
			host := hcs.New(svc)
			release := svc.Hold("HcsCreateComputeSystem", 1)
			svc.Fail("HcsCreateComputeSystem", 1, code)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := host.Create(ctx, vmID, document(t, svc), func(hcs.Event) {}); !errdefs.IsDeadlineExceeded(err) {
				t.Errorf("Create() = %v, want DeadlineExceeded", err)
			}
			closed := make(chan struct{})
			go func() {
				host.Close()
				close(closed)
			}()
			synctest.Wait()
			select {
			case <-closed:
				t.Error("Close did not wait for the call")
			default:
			}
			release()
			<-closed
			nothingLeft(t, svc)
		})
	}
}

// TestSystem_CloseWaits closes no handle under a call that runs.
func TestSystem_CloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := hcsfake.New()
		host := hcs.New(svc)
		s, err := host.Create(t.Context(), vmID, document(t, svc), func(hcs.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		release := svc.Hold("HcsStartComputeSystem", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Start(ctx); !errdefs.IsDeadlineExceeded(err) {
			t.Errorf("Start() = %v, want DeadlineExceeded", err)
		}
		if err := s.Close(ctx); !errdefs.IsDeadlineExceeded(err) {
			t.Errorf("Close() = %v, want DeadlineExceeded", err)
		}
		release()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		host.Close()
		nothingLeft(t, svc)
	})
}

func TestHost_ServiceAnswersNonsense(t *testing.T) {
	svc := hcsfake.New()
	host := hcs.New(svc)
	svc.Fail("HcsGetServiceProperties", 1, hcs.RPCUnavailable)
	if _, err := host.Schema(); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "Start-Service vmcompute") {
		t.Errorf("Schema() = %v", err)
	}
	if _, err := host.Open(t.Context(), vmID, func(hcs.Event) {}); !errdefs.IsNotFound(err) {
		t.Errorf("Open() of none = %v, want NotFound", err)
	}
	if err := host.GrantVM(vmID, "/nowhere"); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "HcsGrantVmAccess /nowhere") {
		t.Errorf("GrantVM() = %v", err)
	}
	host.Close()
	nothingLeft(t, svc)
}
