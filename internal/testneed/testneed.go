// Package testneed is the one way for a test not to run. A test that lacks something is
// skipped, and fails where everything has to run: PORTHOLE_TEST_STRICT=1, as make test
// sets. What a test may leave to another run has calls of its own.
//
// Only tests import it.
package testneed

import (
	"os"
	"os/exec"
	"testing"
)

const (
	strictVar = "PORTHOLE_TEST_STRICT"
	longVar   = "PORTHOLE_LONG"
)

// Skip ends a test that cannot run because the machine lacks something. The rest is as
// for fmt.Sprintf and completes "this test needs".
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(strictVar) == "1" {
		t.Fatalf("this test needs "+format, args...)
	}
	t.Skipf("this test needs "+format, args...)
}

// Root ends a test that does not run as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "root")
	}
}

// Program ends a test unless all of these programs are in PATH.
func Program(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Skip(t, "the program %s: %v", name, err)
		}
	}
}

// File ends a test unless all of these files can be looked at.
func File(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := os.Stat(name); err != nil {
			Skip(t, "a file: %v", err)
		}
	}
}

// Long ends a test that takes too long for every run, unless PORTHOLE_LONG=1, as make
// test-long sets. That is no lack: it is never a failure.
func Long(t testing.TB) {
	t.Helper()
	if os.Getenv(longVar) != "1" {
		t.Skip("takes minutes: " + longVar + "=1 runs it")
	}
}

// Within ends a test that only makes sense in a process that the named test starts.
// That is no lack either.
func Within(t testing.TB, started bool, test string) {
	t.Helper()
	if !started {
		t.Skip("is run by " + test)
	}
}
