package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the tables of docs/conformance.md")

func TestReadReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	const text = `[{"SpecReports": [
		{"LeafNodeType": "BeforeSuite", "LeafNodeText": "", "State": "passed"},
		{"ContainerHierarchyTexts": ["[k8s.io] Pod", "can"], "LeafNodeType": "It", "LeafNodeText": "run", "State": "passed"},
		{"ContainerHierarchyTexts": ["[k8s.io] Pod", "can"], "LeafNodeType": "It", "LeafNodeText": "fly", "State": "failed", "Failure": {"Message": "it fell"}},
		{"ContainerHierarchyTexts": ["[k8s.io] Pod"], "LeafNodeType": "It", "LeafNodeText": "swim", "State": "skipped", "Failure": {"Message": "no water"}},
		{"ContainerHierarchyTexts": ["[k8s.io] Pod"], "LeafNodeType": "It", "LeafNodeText": "benchmark", "State": "skipped"},
		{"LeafNodeType": "AfterSuite", "LeafNodeText": "", "State": "panicked", "Failure": {"Message": "oh"}}
	]}]`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []spec{
		{"AfterSuite", "panicked", "oh"},
		{"[k8s.io] Pod can fly", "failed", "it fell"},
		{"[k8s.io] Pod can run", "passed", ""},
		{"[k8s.io] Pod swim", "skipped", "no water"},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(spec{})); d != "" {
		t.Errorf("specs (-want +got):\n%s", d)
	}
	if got, want := summary(got), "4 specs: 1 passed, 2 failed, 1 skipped themselves"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}

func TestCompare(t *testing.T) {
	want := []expectation{{"a", fails, "why a"}, {"b", skips, "why b"}, {"c", varies, "why c"}}
	as := func(states string) (ran []spec) {
		for _, f := range strings.Fields(states) {
			name, state, _ := strings.Cut(f, "=")
			ran = append(ran, spec{name, state, "since"})
		}
		return ran
	}
	tests := []struct {
		name, ran string
		part      bool
		bad       []string
	}{
		{name: "as_expected", ran: "a=failed b=skipped c=skipped ok=passed"},
		{name: "varies", ran: "a=failed b=skipped c=passed ok=passed"},
		{name: "one_more_fails", ran: "a=failed b=skipped c=skipped ok=passed d=timedout", bad: []string{"d: timedout: since"}},
		{name: "one_more_skips", ran: "a=failed b=skipped c=skipped ok=passed d=skipped", bad: []string{"d: skipped itself: since"}},
		{name: "one_passes", ran: "a=passed b=skipped c=skipped ok=passed", bad: []string{"a: passed, and is expected not to (why a); take it off the list"}},
		{name: "skips_in_place_of_failing", ran: "a=skipped b=skipped c=skipped ok=passed", bad: []string{"a: skipped itself: since"}},
		{name: "fails_in_place_of_skipping", ran: "a=failed b=failed c=skipped ok=passed", bad: []string{"b: failed: since"}},
		{name: "unknown_expectation", ran: "b=skipped c=skipped ok=passed", bad: []string{"a: is expected and is no spec of the suite"}},
		{name: "part", ran: "b=skipped ok=passed", part: true},
		{name: "nothing_ran", part: true, bad: []string{"no spec passed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.bad, compare(as(tt.ran), want, tt.part)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestConformanceDocument holds the list against the table of docs/conformance.md.
func TestConformanceDocument(t *testing.T) {
	const path, heading, rule = "../../docs/conformance.md", "## critest: what does not pass\n", "|---|---|---|\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, section, ok := strings.Cut(string(b), heading)
	section, after, more := strings.Cut(section, "\n## ")
	head, rows, ok2 := strings.Cut(section, rule)
	if !ok || !ok2 {
		t.Fatalf("%s has no table under %q", path, heading)
	}
	var want strings.Builder
	for _, e := range expected {
		fmt.Fprintf(&want, "| %s | %s | %s |\n", e.spec, e.outcome, e.why)
	}
	if !*update {
		if d := cmp.Diff(want.String(), rows); d != "" {
			t.Errorf("(-expected.go +document; go test ./test/critest -update writes it):\n%s", d)
		}
		return
	}
	text := before + heading + head + rule + want.String()
	if more {
		text += "\n## " + after
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
