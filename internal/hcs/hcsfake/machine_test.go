package hcsfake

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/internal/hcs"
)

// frail is a machine of which everything fails, or during which something happens.
type frail struct {
	dataAlone
	err   error
	while func()
}

func (f *frail) do() error {
	if f.while != nil {
		f.while()
	}
	return f.err
}

func (f *frail) Start(*VM) error                        { return f.do() }
func (f *frail) Pause(string, bool) error               { return f.do() }
func (f *frail) Attach(_, _, _, _ string, _ bool) error { return f.do() }
func (f *frail) Plug(_, _, _, _ string) error           { return f.do() }
func (f *frail) SetMemory(_, _ string) error            { return f.do() }

// TestMachine_Fails: what a machine could not do has not happened, and its code is told.
func TestMachine_Fails(t *testing.T) {
	s := New()
	m := &frail{}
	s.RunOn(m)
	h := running(t, s)
	disk := filepath.Join(t.TempDir(), "a.vhd")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.GrantVM("vm", disk)
	before := s.String()
	modify := func(doc string) (string, hcs.HRESULT) {
		return call(s, func(o hcs.Operation) hcs.HRESULT { return s.Call(hcs.Modify, h, o, doc) })
	}
	disks := `{"ResourcePath":"VirtualMachine/Devices/Scsi/` + scsi + `/Attachments/0","RequestType":"Add","Settings":{"Type":"VirtualDisk","Path":"` + disk + `"}}`
	nics := `{"ResourcePath":"VirtualMachine/Devices/NetworkAdapters/` + scsi + `","RequestType":"Add","Settings":{"EndpointId":"` + scsi + `","MacAddress":"00-15-5D-00-00-01"}}`
	memory := `{"ResourcePath":"VirtualMachine/ComputeTopology/Memory/SizeInMB","RequestType":"Update","Settings":128}`
	for _, doc := range []string{disks, nics, memory} {
		m.err = &MachineError{Code: hcs.NoResources, Text: "no room"}
		if text, code := modify(doc); code != hcs.NoResources || !strings.Contains(text, "no room") {
			t.Errorf("Modify(%s) = %v %s", doc, code, text)
		}
		m.err = errors.New("of its own")
		if _, code := modify(doc); code != hcs.Fail {
			t.Errorf("Modify(%s) = %v, want E_FAIL", doc, code)
		}
	}
	if got := s.String(); got != before {
		t.Errorf("after what failed:\n%s\nbefore:\n%s", got, before)
	}
	m.err = nil
	for _, doc := range []string{disks, nics, memory} {
		if text, code := modify(doc); code != hcs.OK {
			t.Errorf("Modify(%s) = %v %s", doc, code, text)
		}
	}
	// A VM that ends in the middle of a call is not brought back by it.
	m.while = func() { s.Exit("vm", "GracefulExit") }
	if _, code := call(s, func(o hcs.Operation) hcs.HRESULT { return s.Call(hcs.Pause, h, o, "") }); code != hcs.SystemAlreadyStopped {
		t.Errorf("Pause of what ends meanwhile = %v", code)
	}
	if _, code := call(s, func(o hcs.Operation) hcs.HRESULT {
		return s.Call(hcs.Save, h, o, `{"SaveType":"ToFile","SaveStateFilePath":"x.vmrs"}`)
	}); code == hcs.OK {
		t.Error("Save of what is not data alone succeeded")
	}
	s.CloseSystem(h)
	if got := s.String(); strings.Contains(got, "vm vm") {
		t.Errorf("left:\n%s", got)
	}
}

// TestAbandon: what a process leaves is no misuse, and its VMs end.
func TestAbandon(t *testing.T) {
	s := New()
	h := running(t, s)
	release := s.Hold("HcsPauseComputeSystem", 1)
	o := s.NewOperation()
	s.Call(hcs.Pause, h, o, "")
	s.Abandon([]hcs.SystemHandle{h}, []hcs.Operation{o})
	release()
	s.Settle()
	if got := s.String(); got != "" || len(s.Misuse()) > 0 {
		t.Errorf("left:\n%s\nmisuse: %q", got, s.Misuse())
	}
}

// counted is a machine that knows whether it runs.
type counted struct {
	frail
	runs bool
}

func (c *counted) Start(*VM) error {
	err := c.do()
	c.runs = err == nil
	return err
}

func (c *counted) Stop(string) { c.runs = false }

// TestAbandon_Starting: a guest whose process dies while it starts does not run on.
func TestAbandon_Starting(t *testing.T) {
	s := New()
	m := &counted{}
	s.RunOn(m)
	h := created(t, s)
	m.while = func() { s.Abandon([]hcs.SystemHandle{h}, nil) }
	if _, code := call(s, func(o hcs.Operation) hcs.HRESULT { return s.Call(hcs.Start, h, o, "") }); code == hcs.OK {
		t.Error("Start of what was abandoned meanwhile succeeded")
	}
	if got := s.String(); m.runs || strings.Contains(got, "vm vm") {
		t.Errorf("it runs: %v; left:\n%s", m.runs, got)
	}
}
