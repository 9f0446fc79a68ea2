package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/ntfs"
)

func run(t *testing.T, w *world, l Lab, only ...string) Report {
	t.Helper()
	r := Run(t.Context(), l, Options{Only: only})
	if left := w.left(); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	return r
}

func text(t *testing.T, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestRun: on a host that is as the documents say, all holds but what such a host cannot tell. Of the POSIX
// card it runs a few areas: all of it over the same fake is package ntfs's test.
func TestRun(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for _, r := range Rows() {
		if len(r.areas) == 0 || slices.Contains([]string{"ntfs-xattr", "ntfs-ea-reparse", "ntfs-times"}, r.ID) {
			ids = append(ids, r.ID)
		}
	}
	l := w.lab()
	l.Times.Notice = time.Minute // what comes late on a busy machine has come
	r := run(t, w, l, ids...)
	want := map[string]Outcome{"hns-overhead": NotRun, "hns-restart": Fails} // no overlay; namespaces are lost
	if len(r.Results) != len(ids) {
		t.Fatalf("%d results of %d rows", len(r.Results), len(ids))
	}
	for _, x := range r.Results {
		w := want[x.ID]
		if w == "" {
			w = Holds
		}
		if x.Outcome != w {
			t.Errorf("%v, want %s", x, w)
		}
	}
	t.Log(text(t, r))
	b, err := json.Marshal(r)
	var back Report
	if err != nil || json.Unmarshal(b, &back) != nil || len(back.Results) != len(r.Results) {
		t.Errorf("as JSON: %s, %v", b, err)
	}
}

// TestRun_Nothing: on a host without any service each row says what it lacks.
func TestRun_Nothing(t *testing.T) {
	r := Run(t.Context(), Lab{Dir: t.TempDir()}, Options{})
	for _, x := range r.Results {
		if x.Outcome != NotRun || x.Detail == "" {
			t.Errorf("%v, want not run, with a reason", x)
		}
	}
}

// TestRun_Crash: what was done is told before the next row begins.
func TestRun_Crash(t *testing.T) {
	var told []string
	Run(t.Context(), Lab{Dir: t.TempDir()}, Options{
		Only:  []string{"strings", "dial"},
		Begin: func(r Row) { told = append(told, "begin "+r.ID) },
		End:   func(r Report) { told = append(told, "end "+r.Results[len(r.Results)-1].ID) },
	})
	if diff := cmp.Diff([]string{"begin strings", "end strings", "begin dial", "end dial"}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRows(t *testing.T) {
	ids := map[string]bool{}
	for _, r := range Rows() {
		if ids[r.ID] || r.ID == "" || r.Assumed == "" || r.Shows == "" || (r.run == nil) == (len(r.areas) == 0) || strings.ContainsAny(r.Assumed+r.Shows+r.Do, "|\n") {
			t.Errorf("row %+v", r)
		}
		ids[r.ID] = true
		for _, a := range r.areas {
			if !slices.ContainsFunc(card.Checks(), func(c card.Check) bool { return c.Area == a }) {
				t.Errorf("row %s looks at the area %s, which the card has not", r.ID, a)
			}
		}
	}
}

// TestRun_Fails: each row tells a host that is not as assumed.
func TestRun_Fails(t *testing.T) {
	for _, tc := range []struct {
		id      string
		outcome Outcome
		detail  string // part of it
		host    func(*testing.T, *world, *Lab)
	}{
		{"document", Fails, "0x8037010d", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsCreateComputeSystem", 1, hcs.InvalidJSON) }},
		{"strings", Fails, "0x80370118", func(_ *testing.T, w *world, _ *Lab) {
			w.svc.Fail("HcsEnumerateComputeSystems", 7, hcs.OperationTimeout)
		}},
		{"early-end", Unclear, "did not", func(_ *testing.T, w *world, _ *Lab) { w.calm = true }},
		{"exit-event", Fails, "no event came", func(_ *testing.T, _ *world, l *Lab) { l.Times.Prompt = time.Nanosecond }},
		{"exit-event", Fails, "0x80370118", func(_ *testing.T, w *world, _ *Lab) {
			w.svc.Refuse("HcsTerminateComputeSystem", 1, hcs.OperationTimeout)
		}},
		{"last-handle", NotRun, "0x80370102", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsCreateComputeSystem", 1, hcs.HyperVNotInstalled) }},
		{"last-handle", Fails, "0x80070005", func(_ *testing.T, w *world, _ *Lab) {
			w.svc.Fail("HcsEnumerateComputeSystems", 1, hcs.GeneralAccessDenied)
		}},
		{"dial", Fails, "no such option", func(_ *testing.T, w *world, _ *Lab) { w.dialErr = errors.New("no such option") }},
		{"dial", Fails, "does not answer", func(_ *testing.T, w *world, _ *Lab) { w.mute = true }},
		{"hvsocket", Fails, "no such option", func(_ *testing.T, w *world, _ *Lab) { w.dialErr = errors.New("no such option") }},
		{"hvsocket", NotRun, "0x80370118", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsStartComputeSystem", 1, hcs.OperationTimeout) }},
		{"console", Fails, "empty", func(_ *testing.T, w *world, _ *Lab) { w.silent = true }},
		{"socket-table", Fails, "not in the table", func(_ *testing.T, w *world, _ *Lab) { w.openTable = true }},
		{"layer", Fails, "0xc03a", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsModifyComputeSystem", 1, hcs.VHDFormatUnknown) }},
		{"open-disk", Fails, "0x80070020", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsModifyComputeSystem", 1, 0x80070020) }},
		{"controllers", Fails, "disk does not appear", func(_ *testing.T, w *world, _ *Lab) { w.blind = true }},
		{"controllers", Fails, "disk 63", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsModifyComputeSystem", 64, hcs.NoResources) }},
		{"kernel", Fails, "agent does not answer", func(_ *testing.T, w *world, _ *Lab) { w.mute = true }},
		{"kernel", Fails, "console is empty", func(_ *testing.T, w *world, _ *Lab) { w.silent = true }},
		{"memory", Fails, "less came back", func(_ *testing.T, w *world, _ *Lab) { w.keep = initrdBytes }},
		{"memory", Fails, "committed", func(_ *testing.T, w *world, _ *Lab) { w.keep = vmMemory << 20 }},
		{"memory", Unclear, "hide it", func(_ *testing.T, _ *world, l *Lab) { l.Memory = func() (uint64, error) { return 5 << 30, nil } }},
		{"resize", Fails, "0x80004001", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsModifyComputeSystem", 2, hcs.NotImplemented) }},
		{"save", Fails, "0x80370120", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsSaveComputeSystem", 1, hcs.NotConfigured) }},
		{"save", Fails, "saved in", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsCreateComputeSystem", 2, hcs.GeneralAccessDenied) }},
		{"hns-namespace", Fails, "gave", func(_ *testing.T, w *world, _ *Lab) { w.hns.ChooseIDs() }},
		{"hns-namespace", NotRun, "does not answer", func(_ *testing.T, w *world, _ *Lab) { w.hns.Stop() }},
		{"hns-plugins", Fails, "0x8037010d", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsModifyComputeSystem", 2, hcs.InvalidJSON) }},
		{"hns-plugins", Unclear, "no VM to plug", func(_ *testing.T, w *world, l *Lab) { l.Host = nil }},
		{"hns-left", Fails, "is left", func(_ *testing.T, w *world, l *Lab) { l.Network = forgetful{w} }},
		{"hns-overhead", Holds, "50", func(t *testing.T, w *world, _ *Lab) { w.network(t, "Overlay") }},
		{"hns-counters", NotRun, "0x8037010d", func(_ *testing.T, w *world, _ *Lab) { w.svc.Fail("HcsModifyComputeSystem", 2, hcs.InvalidJSON) }},
		{"ntfs-xattr", Fails, "of xattr passed", func(_ *testing.T, w *world, _ *Lab) { w.hook = noEAs }},
		{"ntfs-ea-reparse", Fails, "mknod/", func(_ *testing.T, w *world, _ *Lab) { w.hook = noEAs }},
		{"ntfs-fsync", Fails, "fsync", func(_ *testing.T, w *world, _ *Lab) { w.hook = noFlush }},
		{"ntfs-notices", Fails, "told within", func(_ *testing.T, w *world, l *Lab) {
			l.Share = func(dir string) (share.Backend, error) {
				b, err := w.share(dir)
				return deaf{b.(*ntfs.Backend)}, err
			}
		}},
		{"ntfs-notices", NotRun, "shares", func(_ *testing.T, _ *world, l *Lab) { l.Share = nil }},
		{"vmcompute", NotRun, "--disruptive", func(_ *testing.T, _ *world, l *Lab) { l.Restart = nil }},
		{"vmcompute", Fails, "no VM runs after", func(_ *testing.T, w *world, _ *Lab) {
			w.noVMs = func() { w.svc.Fail("HcsCreateComputeSystem", 1, hcs.ServiceNotAvailable) }
		}},
		{"hns-restart", Fails, "endpoint is kept", func(*testing.T, *world, *Lab) {}},
	} {
		t.Run(tc.id, func(t *testing.T) {
			w := newWorld(t)
			l := w.lab()
			tc.host(t, w, &l)
			r := Run(t.Context(), l, Options{Only: []string{tc.id}})
			if len(r.Results) != 1 {
				t.Fatalf("results %v", r.Results)
			}
			if x := r.Results[0]; x.Outcome != tc.outcome || !strings.Contains(x.Detail, tc.detail) {
				t.Errorf("%v, want %s with %q", x, tc.outcome, tc.detail)
			}
			if left := w.left(); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

// forgetful leaves endpoints behind.
type forgetful struct{ *world }

func (forgetful) Detach(context.Context, string) error { return nil }
