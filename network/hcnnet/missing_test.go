package hcnnet

import (
	"errors"
	"testing"
)

// TestMissing: a host without HNS says so, and keeps nothing of a pod that it refused.
func TestMissing(t *testing.T) {
	why := errors.New("computenetwork.dll is not there")
	h, err := New(Config{Dir: t.TempDir()}, Missing(why))
	if err != nil {
		t.Fatal(err)
	}
	const pod = "0123456789abcdef0123456789abcdef"
	if err := h.Ready(t.Context()); !errors.Is(err, why) {
		t.Errorf("Ready = %v, want why", err)
	}
	if _, err := h.Create(t.Context(), pod); !errors.Is(err, why) {
		t.Errorf("Create = %v, want why", err)
	}
	if err := h.Remove(t.Context(), pod); err != nil {
		t.Errorf("Remove after a Create that was refused = %v", err)
	}
	if pods, err := h.Pods(); err != nil || len(pods) != 0 {
		t.Errorf("Pods = %v, %v, want none", pods, err)
	}
	if _, err := h.Check(t.Context()); !errors.Is(err, why) {
		t.Errorf("Check = %v, want why", err)
	}
}
