package withdrawn

import (
	"fmt"
	"testing"
)

func TestSet(t *testing.T) {
	var s Set
	if s.Has("pod a") {
		t.Error("an empty set has a name")
	}
	s.Note("pod a")
	s.Note("pod a")
	if !s.Has("pod a") || s.Has("pod b") {
		t.Errorf("after pod a was noted: pod a %v, pod b %v", s.Has("pod a"), s.Has("pod b"))
	}
}

// TestSet_Bounded goes round the ring more than twice.
func TestSet_Bounded(t *testing.T) {
	var s Set
	for i := range 5 * kept / 2 {
		s.Note(fmt.Sprint(i))
		for _, back := range []int{0, kept - 1, kept} {
			if i < back {
				continue
			}
			if got, want := s.Has(fmt.Sprint(i-back)), back < kept; got != want {
				t.Fatalf("after %d names, that of %d before is known: %v, want %v", i+1, back, got, want)
			}
		}
		if len(s.there) != len(s.order) || len(s.order) > kept {
			t.Fatalf("after %d names: %d are known, of %d kept", i+1, len(s.there), len(s.order))
		}
	}
}
