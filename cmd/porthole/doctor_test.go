package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/winhost"
	"github.com/porthole-run/porthole/internal/hcs"
)

// TestDoctor_Codes: any machine explains codes, in whatever form Windows' tools print them.
func TestDoctor_Codes(t *testing.T) {
	for _, args := range [][]string{{"doctor", "0x80370102"}, {"doctor", "-2143878910"}, {"doctor", "--json=false", "2151088386"}} {
		out, err := invoke(t, args...)
		if err != nil || !strings.Contains(out, "0x80370102  Hyper-V is not installed\n") || !strings.Contains(out, "next: install Hyper-V") {
			t.Errorf("%v = %q, %v", args, out, err)
		}
	}
	out, err := invoke(t, "doctor", "--json", "0x80070426", "5")
	var all []winhost.Explanation
	if err != nil || json.Unmarshal([]byte(out), &all) != nil || len(all) != 2 || all[1].Meaning == "" {
		t.Errorf("doctor --json = %q, %v", out, err)
	}
	var usage usageError
	if _, err := invoke(t, "doctor", "0x803701020"); !errors.As(err, &usage) {
		t.Errorf("doctor of what is no code = %v, want a usage error", err)
	}
}

// TestExamineWindows: what a host lacks and what the configuration lacks are both told.
func TestExamineWindows(t *testing.T) {
	c := config.Default()
	c.VM.Bundle, c.Network.ConfDir = t.TempDir(), t.TempDir()
	c.GRPC.Socket = "npipe:////./pipe/porthole"
	p := places(c)
	if p.Pipe != `\\.\pipe\porthole` || len(p.Dirs) != 2 {
		t.Errorf("places() = %+v", p)
	}
	facts := winhost.Facts{Elevated: true, Build: 17763, SchemaErr: &hcs.Error{Op: "X", Code: hcs.ServiceStopped}}
	var missing []string
	for _, f := range examineWindows(t.Context(), c, facts) {
		if f.Needed && !f.OK {
			missing = append(missing, f.Name)
		}
		if !f.OK && f.Name != "pods api" && f.Fix == "" {
			t.Errorf("%v: nothing to do about it", f)
		}
	}
	want := "windows, service vmcompute, service vmms, service hns, hcs, hns, guest bundle, cni conf"
	if got := strings.Join(missing, ", "); got != want {
		t.Errorf("missing: %s, want %s", got, want)
	}
}
