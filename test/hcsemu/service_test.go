package hcsemu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// bench is a machine that notes what is done to it.
type bench struct {
	mu   sync.Mutex // guards log
	log  []string
	fail error
}

func (b *bench) do(format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf(format, args...))
	return b.fail
}

func (b *bench) Start(vm *hcsfake.VM) error           { return b.do("start %s", vm.ID()) }
func (b *bench) Stop(id string)                       { _ = b.do("stop %s", id) }
func (b *bench) Pause(id string, paused bool) error   { return b.do("pause %s %t", id, paused) }
func (b *bench) Detach(id, bus, lun string) error     { return b.do("detach %s", lun) }
func (b *bench) Unplug(id, nic string) error          { return b.do("unplug") }
func (b *bench) Plug(id, n, e, mac string) error      { return b.do("plug %s", mac) }
func (b *bench) SetMemory(id, megabytes string) error { return b.do("memory %s", megabytes) }
func (b *bench) Attach(id, bus, lun, path string, readOnly bool) error {
	return b.do("attach %s %s %t", lun, filepath.Base(path), readOnly)
}

func (b *bench) took() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.log
	b.log = nil
	return out
}

// caller is a process that has loaded a DLL.
type caller struct {
	t       *testing.T
	address string
	secret  string
	session net.Conn
	id      string
}

func newService(t *testing.T) (*Service, *bench) {
	t.Helper()
	s, err := Start(Config{Drives: Drives{'c': t.TempDir(), 'z': "/"}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{}
	s.hcs.RunOn(b)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, b
}

func newCaller(t *testing.T, s *Service) *caller {
	t.Helper()
	c := &caller{t: t, address: s.listener.Addr().String(), secret: s.secret}
	c.session = c.dial("session")
	f, err := readFrame(c.session)
	if err != nil || len(f.strings) != 1 {
		t.Fatalf("session = %+v, %v", f, err)
	}
	c.id = f.strings[0]
	return c
}

func (c *caller) dial(words ...string) net.Conn {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if err := writeFrame(conn, frame{0, append([]string{c.secret}, words...)}); err != nil {
		c.t.Fatal(err)
	}
	return conn
}

func (c *caller) call(name string, args ...string) (hcs.HRESULT, []string) {
	c.t.Helper()
	f, err := readFrame(c.dial(append([]string{name, c.id}, args...)...))
	if err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	return hcs.HRESULT(f.code), f.strings
}

// operate makes a call that takes an operation, which is put after its arguments but the last n.
func (c *caller) operate(name string, n int, args ...string) (hcs.HRESULT, string, []string) {
	c.t.Helper()
	_, op := c.call("HcsCreateOperation")
	defer c.call("HcsCloseOperation", op[0])
	at := len(args) - n
	code, out := c.call(name, append(append(append([]string(nil), args[:at]...), op[0]), args[at:]...)...)
	if code.Failed() {
		return code, "", out
	}
	code, doc := c.call("HcsWaitForOperationResult", op[0])
	return code, doc[0], out
}

const vmID = "01234567-89ab-cdef-0123-456789abcdef"

// document is of a VM whose kernel is C:\kernel.
func document(t *testing.T, s *Service) string {
	t.Helper()
	if err := os.WriteFile(s.config.Drives.Local(`C:\kernel`), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	return `{"Owner":"o","SchemaVersion":{"Major":2,"Minor":1},"ShouldTerminateOnLastHandleClosed":true,"VirtualMachine":{
		"Chipset":{"LinuxKernelDirect":{"KernelFilePath":"C:\\kernel"}},
		"ComputeTopology":{"Memory":{"SizeInMB":64},"Processor":{"Count":1}},
		"Devices":{"Scsi":{"6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a0":{}}}}}`
}

// running makes a VM that runs and returns its handle.
func (c *caller) running(s *Service) string {
	c.t.Helper()
	if code, _ := c.call("HcsGrantVmGroupAccess", "", `C:\kernel`); code != hcs.FileNotFound && code != hcs.OK {
		c.t.Fatal(code)
	}
	doc := document(c.t, s)
	if code, _ := c.call("HcsGrantVmGroupAccess", "", `C:\kernel`); code.Failed() {
		c.t.Fatal(code)
	}
	code, text, out := c.operate("HcsCreateComputeSystem", 0, vmID, doc)
	if code.Failed() {
		c.t.Fatal(code, text)
	}
	if code, text, _ := c.operate("HcsStartComputeSystem", 1, out[0], ""); code.Failed() {
		c.t.Fatal(code, text)
	}
	return out[0]
}

// TestLife goes through a VM's life as a process makes it, by paths of Windows.
func TestLife(t *testing.T) {
	s, b := newService(t)
	c := newCaller(t, s)
	h := c.running(s)
	if code, _ := c.call("HcsSetComputeSystemCallback", h, "7"); code.Failed() {
		t.Fatal(code)
	}
	disk := s.config.Drives.Local(`C:\a.vhdx`)
	if err := os.WriteFile(disk, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	add := `{"ResourcePath":"VirtualMachine/Devices/Scsi/6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a0/Attachments/3","RequestType":"Add","Settings":{"Type":"VirtualDisk","Path":"C:\\a.vhdx"}}`
	if code, text, _ := c.operate("HcsModifyComputeSystem", 1, h, add); code != hcs.GeneralAccessDenied {
		t.Errorf("Modify without access = %v %s", code, text)
	}
	c.call("HcsGrantVmAccess", vmID, `C:\a.vhdx`)
	if code, text, _ := c.operate("HcsModifyComputeSystem", 1, h, add); code.Failed() {
		t.Errorf("Modify = %v %s", code, text)
	}
	if code, _, _ := c.operate("HcsTerminateComputeSystem", 1, h, ""); code.Failed() {
		t.Error(code)
	}
	f, err := readFrame(c.session)
	if err != nil || f.code != uint32(hcs.SystemExited) || len(f.strings) != 3 || f.strings[1] != "7" || !strings.Contains(f.strings[2], "ForcedExit") {
		t.Errorf("event = %+v, %v", f, err)
	}
	c.call("HcsRevokeVmAccess", vmID, `C:\a.vhdx`)
	c.call("HcsCloseComputeSystem", h)
	want := []string{"start " + vmID, "attach 3 a.vhdx false", "stop " + vmID}
	if diff := cmp.Diff(want, b.took()); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	if left := s.String(); left != "" || len(s.Misuse()) > 0 {
		t.Errorf("left: %s, misuse: %q", left, s.Misuse())
	}
}

// TestProcessDies: a VM that is to end with its last handle ends with its maker's process,
// while another process's handle of one keeps it.
func TestProcessDies(t *testing.T) {
	s, b := newService(t)
	c, other := newCaller(t, s), newCaller(t, s)
	h := c.running(s)
	b.took()
	if code, _ := other.call("HcsGetComputeSystemProperties", h, "1", ""); code != hcs.InvalidArgument {
		t.Errorf("a call with another process's handle = %v", code)
	}
	_, out := other.call("HcsOpenComputeSystem", vmID)
	c.session.Close()
	eventually(t, func() bool { return strings.Count(s.String(), "handle") == 1 })
	if got := b.took(); len(got) > 0 {
		t.Errorf("with a handle left the machine was told %q", got)
	}
	if f, err := readFrame(c.dial("HcsCreateOperation", c.id)); err != nil || hcs.HRESULT(f.code) != hcs.ServiceNotAvailable {
		t.Errorf("a call of a process that has died = %+v, %v", f, err)
	}
	if len(out) != 1 {
		t.Fatalf("open = %q", out)
	}
	other.session.Close()
	eventually(t, func() bool { return s.String() == "" })
	if diff := cmp.Diff([]string{"stop " + vmID}, b.took()); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	over := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-over:
			t.Fatal("not within 10 s")
		}
	}
}

func TestBadCalls(t *testing.T) {
	s, _ := newService(t)
	c := newCaller(t, s)
	for name, args := range map[string][]string{
		"HcsStartComputeSystem": {"1", "2", ""}, "HcsCreateComputeSystem": {"x"}, "NoSuchCall": nil, "HcsCloseOperation": {},
	} {
		if code, _ := c.call(name, args...); code != hcs.InvalidArgument {
			t.Errorf("%s(%q) = %v, want E_INVALIDARG", name, args, code)
		}
	}
	c.secret = "guessed"
	if f, err := readFrame(c.dial("HcsCreateOperation", c.id)); err == nil {
		t.Errorf("without the secret: %+v", f)
	}
}

// TestSockets: who does not run, or lets nobody in, is not connected to.
func TestSockets(t *testing.T) {
	s, _ := newService(t)
	c := newCaller(t, s)
	for name, tc := range map[string]struct {
		args []string
		want uint32
	}{
		"no_vm":     {[]string{vmID, "00000400" + vsockSuffix, "100"}, wsaUnreachable},
		"arguments": {[]string{vmID}, wsaRefused},
	} {
		if code, _ := c.call("hvsock", tc.args...); uint32(code) != tc.want {
			t.Errorf("%s: connect = %d, want %d", name, code, tc.want)
		}
	}
}

// TestHNS makes a pod's endpoint as a CNI plugin does.
func TestHNS(t *testing.T) {
	s, _ := newService(t)
	c := newCaller(t, s)
	network, err := s.hns.CreateNetwork(`{"Name":"n","Type":"L2Bridge","SchemaVersion":{"Major":2},"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.0/24"}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	one := func(name string, args ...string) string {
		t.Helper()
		code, out := c.call(name, args...)
		if code.Failed() || len(out) != 2 {
			t.Fatalf("%s(%q) = %v %q", name, args, code, out)
		}
		return out[0]
	}
	if got, want := one("HcnEnumerate", "Network", `{"SchemaVersion":{"Major":2},"Filter":"{\"Name\":\"n\"}"}`, ""), `["`+network+`"]`; got != want {
		t.Errorf("networks = %s, want %s", got, want)
	}
	pod := strings.ReplaceAll(vmID, "-", "")
	for n := range 2 {
		id := one("HcnCreate", "Endpoint", network, fmt.Sprintf(`{"Name":"%s_n%d","HostComputeNetwork":%q,"SchemaVersion":{"Major":2}}`, pod, n, network))
		var e hcnnet.Endpoint
		if err := json.Unmarshal([]byte(one("HcnQuery", "Endpoint", id, "{}")), &e); err != nil || e.MAC != NICAddress(vmID, n) {
			t.Errorf("endpoint %d = %+v, %v, want the address of the VM's NIC", n, e, err)
		}
	}
	namespace := one("HcnCreate", "Namespace", "", fmt.Sprintf(`{"ID":%q,"SchemaVersion":{"Major":2}}`, vmID))
	var ids []string
	if err := json.Unmarshal([]byte(one("HcnEnumerate", "Endpoint", `{"SchemaVersion":{"Major":2}}`, "")), &ids); err != nil || len(ids) != 2 {
		t.Fatalf("endpoints = %q, %v", ids, err)
	}
	one("HcnModify", "Namespace", namespace, fmt.Sprintf(`{"ResourceType":"Endpoint","RequestType":"Add","Settings":{"EndpointId":%q}}`, ids[0]))
	if code, out := c.call("HcnDelete", "Namespace", namespace, ""); code != 0x803b002c || !strings.Contains(out[1], "ErrorCode") {
		t.Errorf("delete of a namespace in use = %v %q", code, out)
	}
	if code, _ := c.call("HcnOpen", "Endpoint", "00000000-0000-0000-0000-000000000001", ""); code != 0x803b0002 {
		t.Errorf("open of no endpoint = %v", code)
	}
	if _, out := c.call("HNSCall", "GET", "/globals/version", ""); !strings.Contains(out[0], `"Success":true`) {
		t.Errorf("version = %q", out)
	}
	if _, out := c.call("HNSCall", "POST", "/networks", "{}"); !strings.Contains(out[0], `"Success":false`) {
		t.Errorf("a call that is not there = %q", out)
	}
}

func TestDrives_Local(t *testing.T) {
	d := PrefixDrives("/p")
	for path, want := range map[string]string{
		`C:\a\b`: "/p/drive_c/a/b", `c:/a`: "/p/drive_c/a", `Z:\tmp\x`: "/tmp/x", `\\?\Z:\x`: "/x",
		`D:\x`: `D:\x`, `\x`: `\x`, "": "", "C:": "C:", `C:\..\..\etc`: "/p/drive_c/etc",
	} {
		if got := d.Local(path); got != want {
			t.Errorf("Local(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestKernelArgs(t *testing.T) {
	for document, want := range map[string]string{
		"quiet pci=off":  "quiet pci=off reboot=t tsc_early_khz=" + strconv.Itoa(5) + " tsc=reliable",
		"reboot=t quiet": "reboot=t quiet tsc_early_khz=5 tsc=reliable",
	} {
		if got := kernelArgs(document, 5); got != want {
			t.Errorf("kernelArgs(%q) = %q, want %q", document, got, want)
		}
	}
	if got := kernelArgs("quiet", 0); got != "quiet reboot=t" {
		t.Errorf("without a frequency: %q", got)
	}
}

func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	if err := writeFrame(&b, frame{7, []string{"a", "", "ä"}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readFrame(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := writeFrame(&out, got); err != nil || !bytes.HasPrefix(in, out.Bytes()) {
			t.Errorf("frame %+v of %x is written as %x, %v", got, in, out.Bytes(), err)
		}
	})
}
