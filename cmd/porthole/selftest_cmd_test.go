package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/cmd/porthole/selftest"
)

// TestSelftest_List: any machine lists the rows; only a Windows host runs them.
func TestSelftest_List(t *testing.T) {
	out, err := invoke(t, "selftest", "--list")
	if err != nil || strings.Count(out, "\n") != len(selftest.Rows()) {
		t.Errorf("selftest --list = %q, %v", out, err)
	}
	if _, err := invoke(t, "selftest", "--report", filepath.Join(t.TempDir(), "r.json")); !windowsHost && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("selftest = %v, want ErrUnsupported", err)
	}
}
