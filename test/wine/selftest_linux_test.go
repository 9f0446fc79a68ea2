package wine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/selftest"
)

// outcome is what a row comes to under Wine, with a part of what it says.
type outcome struct {
	outcome selftest.Outcome
	detail  string
}

// byPart are the outcomes of rows that want Hyper-V, HNS or NTFS; byRow those of others. What fails here is what
// docs/windows.md says that Wine has not.
var (
	byPart = map[selftest.Part]outcome{
		selftest.PartVM:      {selftest.NotRun, "Hyper-V"},
		selftest.PartNetwork: {selftest.NotRun, "Host Network Service"},
		selftest.PartShare:   {selftest.Fails, "STATUS_INVALID_INFO_CLASS"},
	}
	byRow = map[string]outcome{
		"vmcompute":     {selftest.NotRun, "--disruptive"},
		"hns-restart":   {selftest.NotRun, "--disruptive"},
		"pipe-clients":  {selftest.Holds, "10 pipes"},
		"pipe-alone":    {selftest.Fails, "has the name as well"},
		"pipe-access":   {selftest.Fails, "no administrator opened it"},
		"pipe-remote":   {selftest.Unclear, "nothing of this host is to be reached that way"},
		"folder-access": {selftest.Fails, "no administrator opened it"},
	}
)

// TestSelftest runs the checks of what only a real host can prove where there is no such host: what can be run
// is, what cannot says what it lacks, the report is whole, and nothing is left.
func TestSelftest(t *testing.T) {
	m := newMachine(t)
	config, _ := m.configure(t, "")
	file := filepath.Join(t.TempDir(), "report.json")
	out, errs, code := m.run("porthole.exe", "selftest", "--config", config, "--report", Windows(file))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	var r selftest.Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	t.Logf("exit code %d\n%s", code, out)
	if r.Count(selftest.Fails) == 0 || code == 0 {
		t.Errorf("exit code %d of a host on which %d rows fail", code, r.Count(selftest.Fails))
	}
	for _, row := range selftest.Rows() {
		i := slices.IndexFunc(r.Results, func(x selftest.Result) bool { return x.ID == row.ID })
		if i < 0 {
			t.Errorf("the report lacks %s", row.ID)
			continue
		}
		got := r.Results[i]
		want, ok := byRow[row.ID]
		if !ok {
			want = byPart[row.Part]
		}
		if got.Outcome != want.outcome || !strings.Contains(got.Detail, want.detail) {
			t.Errorf("%s: %s, %q, want %s with %q", got.ID, got.Outcome, got.Detail, want.outcome, want.detail)
		}
	}
	left, err := filepath.Glob(filepath.Join(m.Dir(), "drive_c", "ph", "data", "selftest-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
