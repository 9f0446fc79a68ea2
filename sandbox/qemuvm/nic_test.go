package qemuvm

import (
	"testing"

	"github.com/containerd/errdefs"
)

// TestNICs: NICs are given out from the lowest number on, each name one, and those that
// are lost are not given out again.
func TestNICs(t *testing.T) {
	var s nics
	reserve := func(name string, want int) {
		t.Helper()
		n, err := s.reserve(name, 3)
		if err != nil || n != want {
			t.Fatalf("reserve(%s) = %d, %v, want %d", name, n, err, want)
		}
		s.settle(n, true, false)
	}
	reserve("a/eth0", 0)
	reserve("b/eth0", 1)
	if _, err := s.reserve("a/eth0", 3); !errdefs.IsAlreadyExists(err) {
		t.Errorf("reserve of a name that is attached = %v", err)
	}
	reserve("c/eth0", 2)
	if _, err := s.reserve("d/eth0", 3); !errdefs.IsResourceExhausted(err) {
		t.Errorf("reserve of one more than there are = %v", err)
	}
	n, ok, err := s.take("b/eth0")
	if n != 1 || !ok || err != nil {
		t.Errorf("take = %d, %v, %v", n, ok, err)
	}
	if _, _, err := s.take("b/eth0"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("take of one that is being changed = %v", err)
	}
	s.settle(1, false, false)
	if _, ok, err := s.take("b/eth0"); ok || err != nil {
		t.Errorf("take of one that waits = %v, %v", ok, err)
	}
	reserve("e/eth0", 1)
	if n, _, _ = s.take("a/eth0"); n != 0 {
		t.Errorf("take = %d", n)
	}
	s.settle(0, false, true) // its tap went away
	if _, err := s.reserve("f/eth0", 3); !errdefs.IsResourceExhausted(err) {
		t.Errorf("reserve where one is lost = %v", err)
	}
	if _, ok, err := s.take(""); ok || err == nil {
		t.Errorf("a lost NIC was taken: %v, %v", ok, err)
	}
}
