package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/porthole-run/porthole/cmd/porthole/selftest"
	"github.com/porthole-run/porthole/internal/testneed"
)

// onEmulator are the rows of `porthole selftest` that come to something else than that they hold where Hyper-V and HNS
// are emulated. Those on NTFS and pipes are Wine's, and test/wine looks at them.
var onEmulator = map[string]selftest.Outcome{
	"vmcompute": selftest.NotRun, "hns-restart": selftest.NotRun, // they end all VMs
	"hns-overhead": selftest.NotRun, // there is no overlay
	"save":         selftest.Fails,  // nothing is saved
}

// selftestTime is for some ten VMs, one after another, beside others' work.
const selftestTime = 12 * time.Minute

// TestEmulatorSelftest runs on the emulator what a real host is to prove of Hyper-V and HNS: what comes to a
// host is the program that has run.
func TestEmulatorSelftest(t *testing.T) {
	testneed.Within(t, env.windows != nil, "make test-hcsemu")
	file := filepath.Join(t.TempDir(), "report.json")
	s := ownServer(t, serverConfig{vm: `start_timeout = "4m"`})
	var rows []selftest.Row
	var ids []string
	for _, r := range selftest.Rows() {
		// What VMs take of memory no process of Wine's holds.
		if (r.Part == selftest.PartVM || r.Part == selftest.PartNetwork) && r.ID != "memory" {
			rows, ids = append(rows, r), append(ids, r.ID)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), selftestTime)
	defer cancel()
	out, err := s.Porthole(ctx, "selftest", "--config", s.HostPath(s.ConfigPath), "--report", s.HostPath(file), "--only", strings.Join(ids, ",")).CombinedOutput()
	t.Logf("%v\n%s", err, out)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r selftest.Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	got := map[string]selftest.Result{}
	for _, x := range r.Results {
		got[x.ID] = x
	}
	for _, row := range rows {
		want := onEmulator[row.ID]
		if want == "" {
			want = selftest.Holds
		}
		if x := got[row.ID]; x.Outcome != want {
			t.Errorf("%s %s: %s, want %s", row.ID, x.Outcome, x.Detail, want)
		}
	}
	if x, failed := got["left-overs"]; failed {
		t.Errorf("left behind: %s", x.Detail)
	}
}
