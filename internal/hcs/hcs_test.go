package hcs

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestRequests shows every document that is sent to a system that runs, and to the service.
func TestRequests(t *testing.T) {
	const guid = "6e8a1d52-0c57-4f0e-9a36-2d1b7f54c0a0"
	nic := NetworkAdapter{EndpointId: guid, MacAddress: "00-15-5D-12-34-56"}
	var b strings.Builder
	for _, v := range []any{
		ModifyRequest{AttachmentPath(guid, 3), RequestAdd, Attachment{Type: VirtualDisk, Path: `C:\layers\<a&b>.vhd`, ReadOnly: true, SupportCompressedVolumes: true}},
		ModifyRequest{AttachmentPath(guid, 63), RequestRemove, nil},
		ModifyRequest{NetworkAdapterPath(guid), RequestAdd, nic},
		ModifyRequest{NetworkAdapterPath(guid), RequestRemove, nic},
		ModifyRequest{MemoryPath, RequestUpdate, uint64(512)},
		ModifyRequest{ProcessorLimitsPath, RequestUpdate, ProcessorLimits{Limit: 50000, Weight: 100}},
		SaveOptions{SaveType: "ToFile", SaveStateFilePath: `C:\state.vmrs`},
		systemQuery{Types: []string{"VirtualMachine"}, Owners: []string{"porthole"}},
		serviceQuery{PropertyTypes: []string{"Basic"}},
	} {
		text, err := encode(v)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(text + "\n")
	}
	golden(t, "requests", b.String())
}

// TestErrors shows the text and the kind of every code that is known.
func TestErrors(t *testing.T) {
	var b strings.Builder
	for _, code := range slices.Sorted(maps.Keys(conditions)) {
		err := newError("HcsX", "vm", code, "")
		fmt.Fprintf(&b, "%v: %v\n", err, errors.Unwrap(err))
		if !code.Failed() || code.Kind() == nil || !HasCode(fmt.Errorf("wrapped: %w", err), code) {
			t.Errorf("%v is not a failure", code)
		}
	}
	golden(t, "errors", b.String())
}

func TestHRESULT_Families(t *testing.T) {
	for code := range conditions {
		twin := code | 0x4000_0000
		ours := code&0xFFFF_0000 == 0x8037_0000
		if twin.Is(code) != ours && twin != code {
			t.Errorf("%v and %v are the same: %v, want %v", code, twin, !ours, ours)
		}
		if ours && (twin.Kind() != code.Kind() || twin.Hint() != code.Hint()) {
			t.Errorf("%v has kind %v, its twin %v", code, code.Kind(), twin.Kind())
		}
	}
	for _, code := range []HRESULT{0xC0370001, 0xC0380105, 0x80380105, 0x00370105} {
		if code.Is(InvalidState) || code.canonical() != code {
			t.Errorf("%v is taken for a code of HCS", code)
		}
	}
	if OK.Kind() != nil || OK.Failed() || HRESULT(1).Failed() || HRESULT(1).Kind() != nil {
		t.Error("success is a failure")
	}
	if k := HRESULT(0x8000FFFF).Kind(); !errors.Is(k, errdefs.ErrInternal) {
		t.Errorf("kind of a code that is not known = %v", k)
	}
}

func TestNewError_Document(t *testing.T) {
	for _, tc := range []struct{ name, document, want string }{
		{"none", "", ""},
		{"events", `{"Error":-2143878885,"ErrorMessage":"","ErrorEvents":[{"Message":"Cannot open C:\\x.vhd.\r\n","Provider":"p","EventId":1},{"Message":"Cannot open C:\\x.vhd."},{"Message":"second"}]}`,
			`: Cannot open C:\x.vhd: second`},
		{"message", `{"ErrorMessage":"bad\u0000\u001b[31m\tthing"}`, ": bad [31m thing"},
		{"attribution", `{"Error":1,"Attribution":[{"VirtualDeviceFailure":{"Name":"scsi"}}]}`, `: because of {"VirtualDeviceFailure":{"Name":"scsi"}}`},
		{"no_json", "<html>\n" + strings.Repeat("x", 500), ": <html> " + strings.Repeat("x", 393) + "…"},
		{"many", `{"ErrorEvents":[{"Message":"1"},{"Message":"2"},{"Message":"3"},{"Message":"4"},{"Message":"5"}]}`, ": 1: 2: 3: 4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := newError("HcsX", "", 0x80001234, tc.document).Error()
			if want := "HcsX: 0x80001234" + tc.want; got != want {
				t.Errorf("Error() = %q, want %q", got, want)
			}
		})
	}
}

func FuzzNewError(f *testing.F) {
	for _, s := range []string{"", "{", `{"ErrorEvents":[{"Message":"x\n"}]}`, `{"Attribution":[[],1]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, document string) {
		got := newError("HcsX", "id", AccessDenied, document).Error()
		if strings.ContainsAny(got, "\n\r\x00\x1b") || len([]rune(got)) > 300+maxEvents*(maxEventRunes+20) {
			t.Errorf("Error() = %q", got)
		}
	})
}

func TestEvent(t *testing.T) {
	exit := Event{Data: `{"Status":-1070137082,"ExitType":"UnexpectedExit"}`}.Exit()
	if exit.ExitType != "UnexpectedExit" || !exit.Code().Is(UnexpectedExit) {
		t.Errorf("Exit() = %+v, %v", exit, exit.Code())
	}
	if got := (Event{Data: `{"SystemId":"x","CrashLog":"Kernel panic"}`}).CrashLog(); got != "Kernel panic" {
		t.Errorf("CrashLog() = %q", got)
	}
	for data, want := range map[string]string{
		`{"CrashLog":"Kernel panic","CrashParameters":[1]}`: "Kernel panic",
		`{"CrashParameters":[18446744073709551615,0]}`:      "parameters 0xffffffffffffffff 0x0",
		`{"CrashParameters":[1,2,3,4,5,6,7]}`:               "parameters 0x1 0x2 0x3 0x4 0x5",
		`{"CrashParameters":[]}`:                            "", `{"CrashParameters":[-1]}`: "",
	} {
		if got := (Event{Data: data}).CrashLog(); got != want {
			t.Errorf("CrashLog() of %s = %q, want %q", data, got, want)
		}
	}
	for _, bad := range []string{"", "[]", `{"CrashLog":1,"Status":"x"}`} {
		e := Event{Data: bad}
		if e.CrashLog() != "" || e.Exit() != (ExitStatus{}) {
			t.Errorf("of %q: %q, %+v", bad, e.CrashLog(), e.Exit())
		}
	}
}

func TestProperties(t *testing.T) {
	var p Properties
	text := `{"Id":"a","SystemType":"VirtualMachine","RuntimeOsType":"Linux","Owner":"porthole","RuntimeId":"b","State":"Running","Extra":1}`
	want := Properties{ID: "a", SystemType: "VirtualMachine", Owner: "porthole", RuntimeID: "b", State: "Running"}
	if err := decode("HcsX", "a", text, &p); err != nil || p != want {
		t.Errorf("decode() = %+v, %v, want %+v", p, err, want)
	}
	if err := decode("HcsX", "a", "\x00nonsense", &p); !errdefs.IsInternal(err) || !strings.Contains(err.Error(), "HcsX a") {
		t.Errorf("decode() of nonsense = %v", err)
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}
