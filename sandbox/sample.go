package sandbox

import (
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/usage"
)

// usageAge is how old figures may be that a list takes without asking their VM: several
// callers that ask for several lists at the same time wake a guest once.
const usageAge = time.Second

// sample is what a VM told last. It is forgotten when anything of its pods or containers
// changes, so that none is missing, and none too many. The zero value is ready for use; it
// is safe for concurrent use.
type sample struct {
	mu      sync.Mutex // guards all below
	vm      usage.VM
	asked   time.Time // before vm was told; zero: there is none
	changes int       // calls of forget
}

// get returns figures that are younger than age. If it has none, changes is for keep.
func (s *sample) get(age time.Duration) (vm usage.VM, ok bool, changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.IsZero() || time.Since(s.asked) >= age {
		return usage.VM{}, false, s.changes
	}
	return s.vm, true, s.changes
}

// keep takes what a VM told that was asked after get, unless something has changed since.
func (s *sample) keep(vm usage.VM, asked time.Time, changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == changes && !asked.Before(s.asked) {
		s.vm, s.asked = vm, asked
	}
}

func (s *sample) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vm, s.asked = usage.VM{}, time.Time{}
	s.changes++
}

// ofVM is the sample of the pod's VM, which others may share.
func (p *pod) ofVM() *sample {
	if p.seat != nil {
		return &p.seat.vm.sample
	}
	return &p.sample
}
