package e2e

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// subsetVar, when set, has the tests of subset run alone: `make test-hcsemu SUBSET=1`, which is a part of `make ci`.
const subsetVar = "PORTHOLE_E2E_SUBSET"

// subset are the tests that run on the emulator in each run of CI. docs/testing.md lists the same, with what they
// tell: TestSubset compares them.
var subset = []string{
	"TestBadCNIConf",
	"TestContainerExit",
	"TestContainerProcess",
	"TestCrictlExec",
	"TestCrictlPortForward",
	"TestDaemonKilled",
	"TestEmulatorNetwork",
	"TestExecSync",
	"TestImages",
	"TestLayers",
	"TestLeftOut",
	"TestLogs",
	"TestNothingIsLeft",
	"TestShimKilled",
	"TestStopContainer",
	"TestSubset",
	"TestVolumeDisk",
}

// pickSubset tells package testing to run the tests of subset alone.
func pickSubset() error {
	if os.Getenv(subsetVar) == "" {
		return nil
	}
	if f := flag.Lookup("test.run"); f != nil && f.Value.String() != "" {
		return fmt.Errorf("-run and %s: which tests are to run is said twice", subsetVar)
	}
	return flag.Set("test.run", "^("+strings.Join(subset, "|")+")$")
}

// TestSubset: what is to run in CI is there, is not left out, and is what the document says.
func TestSubset(t *testing.T) {
	tests := declaredTests(t)
	for _, name := range subset {
		if !tests[name] {
			t.Errorf("%s is to run in CI, and there is no such test", name)
		}
		if leftOut[name] != "" {
			t.Errorf("%s is to run in CI, and is left out", name)
		}
	}
	doc, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	row := regexp.MustCompile(`(?m)^\| .* \| (.*) \|$`)
	_, part, found := strings.Cut(string(doc), "<!-- the part of test-hcsemu in CI -->")
	part, _, end := strings.Cut(part, "<!-- end of the part -->")
	if !found || !end {
		t.Fatal("docs/testing.md does not mark what runs in CI")
	}
	for _, m := range row.FindAllStringSubmatch(part, -1) {
		for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(m[1], -1) {
			told[name[1]] = true
		}
	}
	if got := slices.Sorted(maps.Keys(told)); !slices.Equal(got, slices.Sorted(slices.Values(subset))) {
		t.Errorf("docs/testing.md says that CI runs %v, which are %v", got, subset)
	}
}

// declaredTests are the tests of this package, read from its files.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
	}
	return tests
}
