package hcnnet_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/network/hcnnet/hnsfake"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestFamilies attaches a pod with each family of plugins and compares what the pod gets
// with the golden file.
func TestFamilies(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			w := newWorld(t, family)
			if err := w.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			r, err := w.Attach(t.Context(), pod(podID))
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.MarshalIndent(r, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := string(data) + "\nruntimeConfig " + w.plugins.given + "\n" + w.hns.String()
			golden := filepath.Join("testdata", family, "want.golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("Attach (-want +got):\n%s", diff)
			}
			if report, err := w.host.Check(t.Context()); err != nil || len(report.Lost)+len(report.Strays) > 0 {
				t.Errorf("Check = %+v, %v, want nothing", report, err)
			}
			for range 2 {
				if err := w.Detach(t.Context(), podID); err != nil {
					t.Errorf("Detach = %v", err)
				}
			}
			if left := w.left(); left != "" {
				t.Errorf("left:\n%s", left)
			}
			if last := w.plugins.calls[len(w.plugins.calls)-1]; last != "DEL 4f7d2a90-0c1b-4e6e-8d3f-5a6b7c8d9e0f" {
				t.Errorf("the last call is %q, want a DEL with the namespace's id", last)
			}
		})
	}
}

// codes are failures of the classes that are told apart.
var codes = map[string]uint32{
	"access_denied": 0x80070005, "not_found": 0x80070490, "unheard_of": 0x8badf00d,
}

// TestAttach_FailsAtEveryStep lets each call of HNS fail once, the plugins' too, with
// each class of codes.
func TestAttach_FailsAtEveryStep(t *testing.T) {
	for name, code := range codes {
		t.Run(name, func(t *testing.T) {
			step := 1
			for ; ; step++ {
				w := newWorld(t, "two-endpoints")
				w.hns.FailAt(step, code)
				_, err := w.Attach(t.Context(), pod(podID))
				if err == nil {
					break
				}
				if !strings.Contains(err.Error(), fmt.Sprintf("0x%08x", hcnnet.NewError("", "", code, "").Code)) {
					t.Errorf("step %d: Attach = %v, want one with the code", step, err)
				}
				// What could not be undone is for Detach.
				if err := w.Detach(t.Context(), podID); err != nil {
					t.Errorf("step %d: Detach = %v", step, err)
				}
				if left := w.left(); left != "" {
					t.Errorf("step %d: left:\n%s", step, left)
				}
			}
			// Namespace; two endpoints made and put into it; what is in it; three reads.
			if step < 9 {
				t.Errorf("only %d steps can fail", step-1)
			}
		})
	}
}

// TestDetach_FailsAtEveryStep lets each call of HNS fail once; a second Detach ends it.
func TestDetach_FailsAtEveryStep(t *testing.T) {
	for name, code := range codes {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for step := 1; ; step++ {
				w := newWorld(t, "two-endpoints")
				if _, err := w.Attach(t.Context(), pod(podID)); err != nil {
					t.Fatal(err)
				}
				before := w.hns.Steps()
				w.hns.FailAt(step, code)
				err := w.Detach(t.Context(), podID)
				if w.hns.Steps() < before+step {
					break // there is no such step
				}
				if err != nil {
					failed++
					if w.left() == "" {
						t.Errorf("step %d: Detach = %v, and yet nothing is left to find the rest by", step, err)
					}
				}
				if err := w.Detach(t.Context(), podID); err != nil {
					t.Errorf("step %d: Detach again = %v", step, err)
				}
				// "Not found" is believed: what HNS lies about is lost.
				if left := w.left(); left != "" && name != "not_found" {
					t.Errorf("step %d: left:\n%s", step, left)
				}
			}
			if failed == 0 && name != "not_found" { // which means: done
				t.Error("no step failed")
			}
		})
	}
}

func TestAttach_PluginWithoutNamespaces(t *testing.T) {
	w := newWorld(t, "win-bridge")
	w.configure(`{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"win-bridge"}]}`)
	_, err := w.Attach(t.Context(), pod(podID))
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), `"apiVersion": 2`) {
		t.Errorf("Attach = %v, want one that says to set apiVersion", err)
	}
	if left := w.left(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestShippedConf attaches a pod with the configuration of a release.
func TestShippedConf(t *testing.T) {
	w := newWorld(t, "nat")
	conf, err := os.ReadFile("../../deploy/windows/cni/10-porthole-nat.conflist")
	if err != nil {
		t.Fatal(err)
	}
	w.configure(string(conf))
	if _, err := w.Attach(t.Context(), pod(podID)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"portMappings"`, `"dns":{"servers":["10.96.0.10"]`} {
		if !strings.Contains(w.plugins.given, part) {
			t.Errorf("the plugin was given %s, without %s", w.plugins.given, part)
		}
	}
	if err := w.Detach(t.Context(), podID); err != nil || w.left() != "" {
		t.Errorf("Detach = %v, left:\n%s", err, w.left())
	}
}

// TestAttach_CutShort ends ADD between an endpoint's making and its being put into the
// namespace, with plugins that do not undo it: it is found by its name.
func TestAttach_CutShort(t *testing.T) {
	w := newWorld(t, "win-bridge")
	w.plugins.cut, w.plugins.refuse = true, errors.New("no such configuration")
	// Endpoints of another runtime, whose ids are longer, and of a further pod.
	for i, name := range []string{strings.Repeat(podID, 2) + "_cbr0", strings.ReplaceAll(podID, "4", "5") + "_cbr0", "gateway"} {
		doc := fmt.Sprintf(`{"Name":%q,"HostComputeNetwork":%q,"SchemaVersion":{"Major":2},"IpConfigurations":[{"IpAddress":"10.244.1.%d"}]}`, name, w.plugins.network, 50+i)
		if _, err := w.hns.CreateEndpoint(w.plugins.network, doc); err != nil {
			t.Fatal(err)
		}
	}
	w.empty = w.hns.String()
	if _, err := w.Attach(t.Context(), pod(podID)); err == nil {
		t.Fatal("Attach succeeded")
	}
	if err := w.Detach(t.Context(), podID); err != nil {
		t.Errorf("Detach = %v", err)
	}
	if left := w.left(); left != "" {
		t.Errorf("left:\n%s", left)
	}
	report, err := w.host.Check(t.Context())
	if err != nil || len(report.Strays) != 1 || !strings.Contains(report.Strays[0], "5f7d2a90") {
		t.Errorf("Check = %+v, %v, want the further pod's endpoint", report, err)
	}
}

// TestCreate_Crash makes a new daemon find what a crash in the middle of Create left.
func TestCreate_Crash(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("own_ids_%t", own), func(t *testing.T) {
			w := newWorld(t, "win-bridge")
			if own {
				w.hns.ChooseIDs()
			}
			if _, err := w.host.Create(t.Context(), podID); err != nil {
				t.Fatal(err)
			}
			w.restart()
			gone, err := w.Prune(t.Context(), nil)
			if diff := cmp.Diff([]string{podID}, gone); diff != "" || err != nil {
				t.Errorf("Prune = %v, %v", gone, err)
			}
			if left := w.left(); left != "" {
				t.Errorf("left:\n%s", left)
			}
		})
	}
	// Before the id was known: the one that was asked for leads to it.
	w := newWorld(t, "win-bridge")
	if _, err := w.host.Create(t.Context(), podID); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, "hns", podID+".json")
	if err := os.WriteFile(file, []byte(`{"asked":"4f7d2a90-0c1b-4e6e-8d3f-5a6b7c8d9e0f"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if _, err := w.Attach(t.Context(), pod(podID)); !errdefs.IsAlreadyExists(err) {
		t.Errorf("Attach = %v, want AlreadyExists", err)
	}
	if gone, err := w.Prune(t.Context(), nil); err != nil || len(gone) != 1 {
		t.Errorf("Prune = %v, %v", gone, err)
	}
	if left := w.left(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestHNSRestarts loses what HNS does not keep under a pod that runs.
func TestHNSRestarts(t *testing.T) {
	for _, family := range []string{"win-overlay", "win-bridge"} { // lost with its network, and kept
		t.Run(family, func(t *testing.T) {
			w := newWorld(t, family)
			if _, err := w.Attach(t.Context(), pod(podID)); err != nil {
				t.Fatal(err)
			}
			w.hns.Stop()
			if _, err := w.host.Check(t.Context()); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "Start-Service hns") {
				t.Errorf("Check = %v, want Unavailable with what to do", err)
			}
			if err := w.Ready(t.Context()); !errdefs.IsUnavailable(err) {
				t.Errorf("Ready = %v, want Unavailable", err)
			}
			if err := w.Detach(t.Context(), podID); !errdefs.IsUnavailable(err) {
				t.Errorf("Detach = %v, want Unavailable", err)
			}
			w.hns.Restart()
			report, err := w.host.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if lost := report.Lost[podID]; (family == "win-overlay") != strings.HasPrefix(lost, "endpoint ") {
				t.Errorf("lost = %q", lost)
			}
			if err := w.Detach(t.Context(), podID); err != nil {
				t.Errorf("Detach = %v", err)
			}
			w.empty = "" // the network may be gone as well
			if left := w.left(); strings.Contains(left, "pod") || strings.Contains(left, "endpoint") || strings.Contains(left, "file") {
				t.Errorf("left:\n%s", left)
			}
			if report, err := w.host.Check(t.Context()); err != nil || len(report.Lost) > 0 {
				t.Errorf("Check = %+v, %v, want nothing", report, err)
			}
		})
	}
}

func TestCheck_PodAtWork(t *testing.T) {
	w := newWorld(t, "win-bridge")
	if _, err := w.host.Create(t.Context(), podID); err != nil {
		t.Fatal(err)
	}
	w.hns.Restart()
	if report, err := w.host.Check(t.Context()); err != nil || len(report.Lost) > 0 {
		t.Errorf("Check = %+v, %v: a pod that is being attached is not lost", report, err)
	}
}

func TestStats(t *testing.T) {
	w := newWorld(t, "two-endpoints")
	if _, err := w.host.Stats(t.Context(), podID); !errdefs.IsNotFound(err) {
		t.Errorf("Stats = %v, want NotFound", err)
	}
	r, err := w.Attach(t.Context(), pod(podID))
	if err != nil {
		t.Fatal(err)
	}
	want := []hcnnet.EndpointStats{
		{Endpoint: r.NICs[0].Interface, Stats: hcnnet.Stats{BytesReceived: 1, PacketsSent: 2, DroppedOutgoing: 3}},
		{Endpoint: r.NICs[1].Interface, Stats: hcnnet.Stats{BytesSent: 7}},
	}
	for _, s := range want {
		w.hns.Count(s.Endpoint, s.Stats)
	}
	got, err := w.host.Stats(t.Context(), podID)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Stats = %v (-want +got):\n%s", err, diff)
	}
	w.hns.FailAt(1, 0x800706ba)
	if _, err := w.host.Stats(t.Context(), podID); !errdefs.IsUnavailable(err) {
		t.Errorf("Stats = %v, want Unavailable", err)
	}
}

func TestLookUp(t *testing.T) {
	w := newWorld(t, "two-endpoints")
	r, err := w.Attach(t.Context(), pod(podID))
	if err != nil {
		t.Fatal(err)
	}
	for _, nic := range r.NICs {
		mac, err := hcnnet.LookUp(t.Context(), w.hns, r.Namespace, nic.Interface)
		if err != nil || mac.String() != nic.MAC {
			t.Errorf("LookUp = %s, %v, want %s", mac, err, nic.MAC)
		}
	}
	other, err := w.hns.CreateNamespace("")
	if err != nil {
		t.Fatal(err)
	}
	for namespace, id := range map[string]string{other: r.NICs[0].Interface, r.Namespace: other, podID: r.NICs[0].Interface} {
		if mac, err := hcnnet.LookUp(t.Context(), w.hns, namespace, id); !errdefs.IsNotFound(err) {
			t.Errorf("LookUp(%s, %s) = %s, %v, want NotFound", namespace, id, mac, err)
		}
	}
	w.hns.Stop()
	if _, err := hcnnet.LookUp(t.Context(), w.hns, r.Namespace, r.NICs[0].Interface); !errdefs.IsUnavailable(err) {
		t.Errorf("LookUp = %v, want Unavailable", err)
	}
}

func TestReady_OldHNS(t *testing.T) {
	hns := hnsfake.New()
	h, err := hcnnet.New(hcnnet.Config{Dir: t.TempDir()}, hns)
	if err != nil {
		t.Fatal(err)
	}
	for v, ok := range map[hcnnet.Version]bool{{9, 1}: false, {7, 9}: false, {9, 2}: true, {13, 0}: true} {
		hns.SetVersion(v)
		if err := h.Ready(t.Context()); (err == nil) != ok {
			t.Errorf("Ready with HNS %v = %v", v, err)
		}
	}
	if _, err := hcnnet.New(hcnnet.Config{Dir: "hns"}, hns); !errdefs.IsInvalidArgument(err) {
		t.Errorf("New = %v, want InvalidArgument", err)
	}
}

// TestDamagedState refuses a file that is not what was written, and names it.
func TestDamagedState(t *testing.T) {
	w := newWorld(t, "win-bridge")
	file := filepath.Join(w.dir, "hns", podID+".json")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "x", `{"asked":1}`, `{"asked":"4f7d2a90-0c1b-4e6e-8d3f-5a6b7c8d9e0f","namespace":"..\\x"}`, `{"endpoints":["4f7d2a90"]}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Detach(t.Context(), podID); err == nil || !strings.Contains(err.Error(), podID) {
			t.Errorf("Detach with %q = %v, want one that names the file", text, err)
		}
	}
	if steps := w.hns.Steps(); steps > 1 { // the network's making
		t.Errorf("HNS was called %d times", steps-1)
	}
	for _, id := range []string{"", "pod1", strings.ToUpper(podID), "../" + podID, podID + "0"} {
		if _, err := w.host.Create(t.Context(), id); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Create(%q) = %v, want InvalidArgument", id, err)
		}
	}
}
