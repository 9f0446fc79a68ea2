package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestConformanceDocument holds the tests against the table of docs/conformance.md.
func TestConformanceDocument(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := func(pattern string, paths ...string) []string {
		var all []string
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
				all = append(all, string(m[1]))
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	want := names(`(?m)^func (TestNode_\w+)\(`, files...)
	if len(want) == 0 {
		t.Fatal("no test was found: the pattern is broken")
	}
	if d := cmp.Diff(want, names("`(TestNode_\\w+)`", "../../docs/conformance.md")); d != "" {
		t.Errorf("(-tests +document):\n%s", d)
	}
}
