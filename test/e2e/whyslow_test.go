package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/phase"
)

// TestWhySlow makes a pod with a container and looks at what porthole says of it: phases
// of daemon, shim and guest, each within the one that it is a part of, and what it holds.
func TestWhySlow(t *testing.T) {
	s := env.server
	p := runPod(t, s)
	if _, err := s.Images.PullImage(testContext(t), &cri.PullImageRequest{
		Image: &cri.ImageSpec{Image: env.registry.sample}, SandboxConfig: p.config,
	}); err != nil {
		t.Fatal(err)
	}
	p.start(sh("sleep", "sleep 1000"))

	whySlow := func(args ...string) string {
		t.Helper()
		args = append([]string{"why-slow", "--config", s.HostPath(s.ConfigPath)}, args...)
		out, err := s.Porthole(testContext(t), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("porthole %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	var h phase.History
	if err := json.Unmarshal([]byte(whySlow("--json", p.id)), &h); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"RunPodSandbox":   {"vm", "agent answers", "network", "set up pod", "pod in guest", "mount scratch", "set network"},
		"PullImage":       {"resolve", "manifest"},
		"CreateContainer": {"image", "create in vm", "attach layers", "container in guest", "mount root", "crun create"},
		"StartContainer":  {"start in vm", "start in guest", "crun start"},
	}
	for _, c := range h.Calls {
		names := map[string]bool{}
		for i, span := range c.Spans {
			names[span.Name] = true
			from, to := time.Duration(0), c.Took
			if span.Parent != phase.Root {
				from, to = c.Spans[span.Parent].Start, c.Spans[span.Parent].Start+c.Spans[span.Parent].Took
			}
			// Ends are noted one after the other.
			if span.Start < from || span.Start+span.Took > to+5*time.Millisecond {
				t.Errorf("%s: phase %d, %s, lasts from %s for %s, outside of its own %s to %s",
					c.Name, i, span.Name, span.Start, span.Took, from, to)
			}
		}
		for _, name := range want[c.Name] {
			if !names[name] {
				t.Errorf("%s has no phase %q: %v", c.Name, name, names)
			}
		}
		delete(want, c.Name)
	}
	for name := range want {
		t.Errorf("nothing is said of %s", name)
	}
	if text := whySlow(p.id); !strings.Contains(text, "container in guest") || !strings.Contains(text, "█") {
		t.Errorf("as text:\n%s", text)
	}
	var top []struct {
		ID                             string
		GuestBytes, ShimBytes, VMBytes *uint64
	}
	out, err := s.Porthole(testContext(t), "top", "--config", s.HostPath(s.ConfigPath), "--json").CombinedOutput()
	if err != nil {
		t.Fatalf("porthole top: %v: %s", err, out)
	}
	if err := json.Unmarshal(out, &top); err != nil {
		t.Fatalf("porthole top: %v: %s", err, out)
	}
	found := false
	for _, row := range top {
		if row.ID != p.id {
			continue
		}
		found = true
		for what, n := range map[string]*uint64{"the containers": row.GuestBytes, "the shim": row.ShimBytes, "the VM": row.VMBytes} {
			if env.windows != nil && what == "the VM" { // whose memory a process of Windows' own holds: not told
				if n != nil {
					t.Errorf("%s: %v bytes", what, *n)
				}
				continue
			}
			if n == nil || *n == 0 || *n > 1<<30 {
				t.Errorf("%s: %v bytes", what, n)
			}
		}
	}
	if !found {
		t.Errorf("porthole top does not list the pod: %s", out)
	}
	page := filepath.Join(t.TempDir(), "pod.html")
	whySlow("--html", s.HostPath(page), p.id)
	if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), "container in guest") {
		t.Errorf("page: %v: %.200s", err, b)
	}
	if out := whySlow("--html", "-", p.id); !strings.HasPrefix(out, "<!doctype html>") {
		t.Errorf("page on standard output: %.200s", out)
	}
	out, err = s.Porthole(testContext(t), "why-slow", "--config", s.HostPath(s.ConfigPath), "nosuchpod").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `nothing is known of pod "nosuchpod"`) {
		t.Errorf("of a pod that is not: %v: %s", err, out)
	}
}
