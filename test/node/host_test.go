package main

import (
	"os"
	"testing"
)

// kernel is the release of the host's.
func kernel(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
