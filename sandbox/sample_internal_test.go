package sandbox

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/porthole-run/porthole/internal/usage"
)

// TestSample_Changes: what was asked before a change does not stand for what is after it.
func TestSample_Changes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sample
		told := usage.VM{Pods: map[string]usage.Pod{"p": {}}}
		get := func() bool {
			_, ok, _ := s.get(time.Second)
			return ok
		}
		_, ok, changes := s.get(time.Second)
		if ok {
			t.Error("there are figures that nobody told")
		}
		begin := time.Now()
		time.Sleep(time.Millisecond)
		s.forget()
		if s.keep(told, begin, changes); get() {
			t.Error("figures of before a change are there")
		}
		_, _, changes = s.get(time.Second)
		if s.keep(told, time.Now(), changes); !get() {
			t.Error("figures are not there")
		}
		// An answer that comes late is not newer.
		if s.keep(usage.VM{}, begin, changes); !get() || s.vm.Pods == nil {
			t.Error("figures were replaced by older ones")
		}
		if s.forget(); get() {
			t.Error("figures of before a change are still there")
		}
	})
}
