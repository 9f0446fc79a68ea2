package winhost

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/network/hcnnet"
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

// good is a host that has all.
func good() Facts {
	const gib = 1 << 30
	return Facts{
		Elevated: true, Product: "Windows Server 2022 Datacenter", Build: 20348, Revision: 2700,
		Services: map[string]Service{"vmcompute": {Status: "running"}, "vmms": {Status: "running"}, "hns": {Status: "stopped"}},
		Schema:   []hcs.Version{{Major: 1, Minor: 0}, {Major: 2, Minor: 5}},
		HNS:      hcnnet.Version{Major: 14, Minor: 0},
		Volumes: map[string]Volume{
			`C:\ProgramData\porthole`:       {FileSystem: "NTFS", FreeBytes: 40 * gib},
			`C:\ProgramData\porthole\state`: {FileSystem: "NTFS", FreeBytes: 40 * gib},
		},
		Exclusions: []string{`c:\programdata\Porthole\`},
		Pipe:       `\\.\pipe\porthole`, PipeACL: "D:P(A;;FA;;;BA)(A;;FA;;;SY)",
	}
}

// TestCheck shows what is said of a host that has all, and of hosts that each lack one thing.
func TestCheck(t *testing.T) {
	change := func(f func(*Facts)) Facts {
		facts := good()
		f(&facts)
		return facts
	}
	volume := func(v Volume) func(*Facts) {
		return func(f *Facts) { f.Volumes[`C:\ProgramData\porthole`] = v }
	}
	service := func(name string, s Service) func(*Facts) { return func(f *Facts) { f.Services[name] = s } }
	var b strings.Builder
	first := ""
	for _, tc := range []struct {
		name  string
		facts Facts
	}{
		{"good", good()},
		{"not elevated", change(func(f *Facts) { f.Elevated = false })},
		{"server 2019", change(func(f *Facts) { f.Product, f.Build = "Windows Server 2019 Standard", 17763 })},
		{"no hyper-v", change(func(f *Facts) {
			delete(f.Services, "vmcompute")
			delete(f.Services, "vmms")
			f.SchemaErr = errors.New("load computecore.dll: not found")
		})},
		{"vmms disabled", change(service("vmms", Service{Status: "stopped", Disabled: true}))},
		{"service not known", change(service("hns", Service{Err: fs.ErrPermission}))},
		{"hcs denies", change(func(f *Facts) { f.SchemaErr = &hcs.Error{Op: "HcsGetServiceProperties", Code: hcs.AccessDenied} })},
		{"old schema", change(func(f *Facts) { f.Schema = f.Schema[:1] })},
		{"hns stopped", change(func(f *Facts) { f.HNSErr = hcnnet.NewError("GetGlobals", "", 0x80070426, "") })},
		{"no containers", change(func(f *Facts) { f.HNSErr = errors.New("find the host network service: not found") })},
		{"hns old", change(func(f *Facts) { f.HNS = hcnnet.Version{Major: 9, Minor: 1} })},
		{"fat", change(volume(Volume{FileSystem: "FAT32", FreeBytes: 40 << 30}))},
		{"compressed", change(volume(Volume{FileSystem: "NTFS", FreeBytes: 40 << 30, Compressed: true}))},
		{"encrypted", change(volume(Volume{FileSystem: "NTFS", FreeBytes: 40 << 30, Encrypted: true}))},
		{"full", change(volume(Volume{FileSystem: "NTFS", FreeBytes: 1 << 30}))},
		{"no volume", change(volume(Volume{Err: fs.ErrNotExist}))},
		{"no daemon", change(func(f *Facts) { f.PipeErr = fmt.Errorf("read its access: %w", fs.ErrNotExist) })},
		{"pipe denies", change(func(f *Facts) { f.PipeErr = fs.ErrPermission })},
		{"open pipe", change(func(f *Facts) { f.PipeACL = "D:(A;;FA;;;BA)(A;;0x12019f;;;AU)" })},
		{"scanned", change(func(f *Facts) { f.Exclusions = []string{`C:\ProgramData\porthole-2`} })},
		{"defender not known", change(func(f *Facts) { f.ExclusionsErr = fs.ErrPermission })},
		{"no defender", change(func(f *Facts) { f.ExclusionsErr = fs.ErrNotExist })},
	} {
		fmt.Fprintf(&b, "== %s\n", tc.name)
		for _, f := range Check(tc.facts) {
			line := fmt.Sprintf("%-18s ok=%-5v needed=%-5v %s\n", f.Name, f.OK, f.Needed, f.Detail)
			if f.Fix != "" {
				line += "    fix: " + f.Fix + "\n"
			}
			if first != "" && strings.Contains(first, line) {
				continue // as on a good host
			}
			b.WriteString(line)
			if !f.OK && f.Detail == "" {
				t.Errorf("%s: %s says nothing", tc.name, f.Name)
			}
		}
		if first == "" {
			first = b.String()
		}
	}
	golden(t, "check", b.String())
}

func TestAnybody(t *testing.T) {
	for sddl, want := range map[string]string{
		"D:P(A;;GA;;;BA)(A;;GA;;;SY)":                            "",
		"O:BAG:SYD:P(A;;GA;;;BA)S:(AU;SAFA;GA;;;WD)":             "",
		"D:(A;;GA;;;WD)":                                         "everyone",
		"D:(D;;GA;;;WD)(A;;GA;;;BA)":                             "",
		"D:(A;;GA;;;BA)(A;;GR;;;S-1-5-11)":                       "all that log on",
		"O:BA":                                                   "everyone (it has no list of access)",
		"D:NO_ACCESS_CONTROL":                                    "everyone (it has no list of access)",
		"D:(A;;GA;;;S-1-5-21-1-2-3-1001)":                        "",
		"D:(A;OICI;GA;;;BA)(XA;;GA;;;AU;(WIN://NOALLAPPPKG==1))": "all that log on",
		"": "everyone (it has no list of access)",
	} {
		if got := Anybody(sddl); got != want {
			t.Errorf("Anybody(%q) = %q, want %q", sddl, got, want)
		}
	}
}

func TestParseCode(t *testing.T) {
	for text, want := range map[string]uint32{
		"0x80370102": 0x80370102, "0X80370102": 0x80370102, "-2143878910": 0x80370102, "2151088386": 0x80370102,
		"0xC0370105L": 0xc0370105, "5": 5, "0": 0, "-1": 0xffffffff, "4294967295": 0xffffffff,
	} {
		if got, err := ParseCode(text); err != nil || got != want {
			t.Errorf("ParseCode(%q) = 0x%x, %v, want 0x%x", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0x", "0x100000000", "4294967296", "-2147483649", "80370102h", "--5", "five", "0x8037010g"} {
		if got, err := ParseCode(text); err == nil {
			t.Errorf("ParseCode(%q) = 0x%x, want an error", text, got)
		}
	}
}

// TestExplain shows each code that is known: every one has a meaning and a next step of
// its own.
func TestExplain(t *testing.T) {
	all := map[uint32]bool{0: true, 0x12345678: true}
	for _, c := range hcs.Known() {
		all[uint32(c)] = true
	}
	for _, c := range hcnnet.Known() {
		all[c] = true
	}
	var b strings.Builder
	for _, code := range slices.Sorted(maps.Keys(all)) {
		e := Explain(code)
		b.WriteString(e.String())
		if code == 0x12345678 {
			continue
		}
		if e.Meaning == "" || e.Next == unknownStep || e.Next == "" {
			t.Errorf("%v: a known code without a meaning or a step", e)
		}
	}
	golden(t, "explain", b.String())
	// The older interface's family, and Windows' own codes with their facility.
	for code, same := range map[uint32]uint32{0xc0370102: 0x80370102, 0x80070005: 5, 0x80070426: 1062, 0x8007001f: 31} {
		if got, want := Explain(code), Explain(same); got.Meaning != want.Meaning || got.Next != want.Next {
			t.Errorf("Explain(0x%x) = %v, want as of 0x%x: %v", code, got, same, want)
		}
	}
}

// TestSteps: a step for a code that nobody knows, or that has a hint, is never said.
func TestSteps(t *testing.T) {
	for h := range steps {
		if !h.Known() || h.Hint() != "" {
			t.Errorf("%v is not known, or has a hint already: %q", h, h.Hint())
		}
	}
	for code := range networkSteps {
		if meaning, advice := hcnnet.Explain(code); advice != "" || meaning == "" && code != genFailure {
			t.Errorf("0x%x is not known, or has advice already: %q", code, advice)
		}
	}
}

func FuzzParseCode(f *testing.F) {
	for _, s := range []string{"0x80370102", "-1", "4294967295", "0xffffffffL", "١"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if code, err := ParseCode(s); err == nil && Explain(code).Next == "" {
			t.Errorf("nothing to do about %q", s)
		}
	})
}
