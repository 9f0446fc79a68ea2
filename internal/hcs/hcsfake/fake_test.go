package hcsfake

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/internal/hcs"
)

// call makes one call and returns how its operation ended.
func call(s *Service, do func(hcs.Operation) hcs.HRESULT) (string, hcs.HRESULT) {
	o := s.NewOperation()
	defer s.CloseOperation(o)
	if code := do(o); code.Failed() {
		return s.Result(o)
	}
	return s.Wait(o)
}

const scsi = "6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a0"

// running makes a VM with one controller that runs.
func running(t *testing.T, s *Service) hcs.SystemHandle {
	t.Helper()
	h := created(t, s)
	if text, code := call(s, func(o hcs.Operation) hcs.HRESULT { return s.Call(hcs.Start, h, o, "") }); code != hcs.OK {
		t.Fatal(code, text)
	}
	return h
}

// created makes a VM with one controller that was not started.
func created(t *testing.T, s *Service) hcs.SystemHandle {
	t.Helper()
	kernel := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.GrantGroup(kernel)
	var h hcs.SystemHandle
	doc := `{"Owner":"o","SchemaVersion":{"Major":2,"Minor":1},"ShouldTerminateOnLastHandleClosed":true,"VirtualMachine":{
		"Chipset":{"LinuxKernelDirect":{"KernelFilePath":"` + kernel + `"}},
		"ComputeTopology":{"Memory":{"SizeInMB":64},"Processor":{"Count":1}},"Devices":{"Scsi":{"` + scsi + `":{}}}}}`
	if text, code := call(s, func(o hcs.Operation) (code hcs.HRESULT) {
		h, code = s.CreateSystem("vm", doc, o)
		return code
	}); code != hcs.OK {
		t.Fatal(code, text)
	}
	return h
}

func TestModify(t *testing.T) {
	s := New()
	h := running(t, s)
	disk := filepath.Join(t.TempDir(), "a.vhd")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		luns = `"ResourcePath":"VirtualMachine/Devices/Scsi/` + scsi + `/Attachments/`
		nics = `"ResourcePath":"VirtualMachine/Devices/NetworkAdapters/` + scsi + `",`
	)
	settings := `"Settings":{"Type":"VirtualDisk","Path":"` + disk + `","ReadOnly":true}`
	for _, tc := range []struct {
		name, document string
		want           hcs.HRESULT
		say            string
	}{
		{"no_json", `{`, hcs.InvalidJSON, ""},
		{"two", `{} {}`, hcs.InvalidJSON, "something follows"},
		{"unknown_field", `{` + luns + `0","RequestType":"Add",` + settings + `,"GuestRequest":{}}`, hcs.InvalidJSON, "unknown field GuestRequest"},
		{"unknown_setting", `{` + luns + `0","RequestType":"Add","Settings":{"Type":"VirtualDisk","Path":"x","Readonly":true}}`, hcs.InvalidJSON, "unknown field Readonly"},
		{"wrong_type", `{` + luns + `0","RequestType":"Add","Settings":{"Type":"virtualdisk","Path":"x"}}`, hcs.InvalidJSON, "Type is virtualdisk"},
		{"wrong_verb", `{` + luns + `0","RequestType":"add",` + settings + `}`, hcs.InvalidJSON, "RequestType is add"},
		{"remove_with_settings", `{` + luns + `0","RequestType":"Remove",` + settings + `}`, hcs.InvalidJSON, "settings given: true"},
		{"add_without", `{` + luns + `0","RequestType":"Add"}`, hcs.InvalidJSON, "settings given: false"},
		{"no_such_path", `{"ResourcePath":"VirtualMachine/Devices/Scsi/` + scsi + `","RequestType":"Add",` + settings + `}`, hcs.InvalidJSON, "no resource"},
		{"lun_64", `{` + luns + `64","RequestType":"Add",` + settings + `}`, hcs.ElementNotFound, "no LUN 64"},
		{"not_granted", `{` + luns + `0","RequestType":"Add",` + settings + `}`, hcs.GeneralAccessDenied, disk},
		{"remove_nothing", `{` + luns + `0","RequestType":"Remove"}`, hcs.ElementNotFound, ""},
		{"odd_memory", `{"ResourcePath":"VirtualMachine/ComputeTopology/Memory/SizeInMB","RequestType":"Update","Settings":65}`, hcs.InvalidJSON, "odd"},
		{"bad_mac", `{` + nics + `"RequestType":"Add","Settings":{"EndpointId":"` + scsi + `","MacAddress":"00:15:5d:00:00:01"}}`, hcs.InvalidJSON, "MacAddress"},
		{"nic_settings", `{` + nics + `"RequestType":"Remove"}`, hcs.InvalidJSON, "settings given: false"},
	} {
		text, code := call(s, func(o hcs.Operation) hcs.HRESULT { return s.Call(hcs.Modify, h, o, tc.document) })
		if code != tc.want || !strings.Contains(text, tc.say) {
			t.Errorf("%s: %v %s, want %v and %q", tc.name, code, text, tc.want, tc.say)
		}
	}
	s.GrantVM("vm", disk)
	add := `{` + luns + `0","RequestType":"Add",` + settings + `}`
	if text, code := call(s, func(o hcs.Operation) hcs.HRESULT { return s.Call(hcs.Modify, h, o, add) }); code != hcs.OK {
		t.Errorf("Add = %v %s", code, text)
	}
	s.CloseSystem(h)
	if got, want := s.String(), "grant "+disk+" to vm\n"; got != want {
		t.Errorf("String() = %q, want %q: the VM ends with its last handle", got, want)
	}
}

// TestMisuse notes all that the reference forbids.
func TestMisuse(t *testing.T) {
	s := New()
	s.OnEvent(func(uintptr, hcs.Event) {})
	h := running(t, s)
	release := s.Hold("HcsPauseComputeSystem", 1)
	o := s.NewOperation()
	s.Call(hcs.Pause, h, o, "")
	s.Call(hcs.Resume, h, o, "")
	if _, code := s.Result(o); code != hcs.OperationPending {
		t.Errorf("Result() of what runs = %v", code)
	}
	s.CloseOperation(o)
	s.CloseOperation(o)
	o = s.NewOperation()
	s.Wait(o)
	s.Call(hcs.Terminate, h, o, "")
	s.CloseSystem(h)
	s.CloseSystem(h)
	s.Call(hcs.Terminate, h, o, "")
	s.SetCallback(h, 1)
	release()
	s.Settle()
	s.CloseOperation(o)
	got := strings.Join(s.Misuse(), "\n")
	for _, want := range []string{
		"HcsResumeComputeSystem with an operation that is not new", "operation of HcsPauseComputeSystem closed while it runs",
		"operation closed twice", "wait for an operation that was not started", "handle closed twice",
		"HcsTerminateComputeSystem on a closed handle", "callback of a closed handle",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not noted: %s\nnoted:\n%s", want, got)
		}
	}
}
