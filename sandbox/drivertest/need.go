package drivertest

import (
	"os"
	"testing"
)

// Skip skips a test that cannot run because the machine lacks something. With
// PORTHOLE_TEST_STRICT=1, as in CI, it fails instead.
func Skip(t testing.TB, need string) {
	t.Helper()
	if os.Getenv("PORTHOLE_TEST_STRICT") == "1" {
		t.Fatalf("this test needs %s", need)
	}
	t.Skipf("this test needs %s", need)
}
