package sandbox

import (
	"maps"
	"slices"
	"sync"
)

// seat is one pod's place in a shared VM.
type seat struct {
	vm   *sharedVM // immutable
	pod  *pod      // immutable
	need int       // immutable; MiB of the VM's memory that the pod was promised
	// leaving: the pod's part of the VM is to go, or is gone; guarded by sharedVMs.mu.
	leaving bool
}

// sharedVMs are the shared VMs with their pods. The zero value is ready for use; methods are
// safe for concurrent use. Its mutex may be held while a VM's or a pod's is taken.
type sharedVMs struct {
	mu    sync.Mutex // guards the rest, and each seat's leaving
	vms   map[string]*sharedVM
	seats map[*sharedVM]map[*pod]*seat
}

// join gives the pod a seat in a VM with room for it: in the fullest one, so that few are
// needed, else in a new one.
func (s *sharedVMs) join(p *pod, spec vmSpec, need int) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *sharedVM
	for _, id := range slices.Sorted(maps.Keys(s.vms)) {
		vm := s.vms[id]
		if vm.spec == spec && s.hasRoom(vm, need) && (best == nil || len(s.seats[vm]) > len(s.seats[best])) {
			best = vm
		}
	}
	if best == nil {
		best = &sharedVM{id: newID(), spec: spec, turn: newGate()}
	}
	return s.sit(best, p, need)
}

// hasRoom tells whether a VM takes one more pod. One that nobody wants any more does not:
// it is being ended.
func (s *sharedVMs) hasRoom(vm *sharedVM, need int) bool {
	wanted := false
	for _, st := range s.seats[vm] {
		need += st.need
		wanted = wanted || !st.leaving
	}
	return wanted && len(s.seats[vm]) < vm.spec.Pods && need <= vm.spec.RoomMiB && vm.takesPods()
}

func (s *sharedVMs) sit(vm *sharedVM, p *pod, need int) *seat {
	if s.vms == nil {
		s.vms, s.seats = map[string]*sharedVM{}, map[*sharedVM]map[*pod]*seat{}
	}
	if s.seats[vm] == nil {
		s.vms[vm.id], s.seats[vm] = vm, map[*pod]*seat{}
	}
	st := &seat{vm: vm, pod: p, need: need}
	s.seats[vm][p] = st
	return st
}

// adopt gives the pod its seat of before a restart of the daemon back.
func (s *sharedVMs) adopt(p *pod, id string, spec vmSpec, need int) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	vm := s.vms[id]
	if vm == nil {
		vm = &sharedVM{id: id, spec: spec, turn: newGate(), state: vmUnknown}
	}
	return s.sit(vm, p, need)
}

// leave begins to give a seat up. It tells whether the seat was held still, and whether
// the VM is to go, since no other pod wants it: from then on it takes none.
func (s *sharedVMs) leave(st *seat) (held, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seats := s.seats[st.vm]
	if seats[st.pod] != st {
		return false, false
	}
	st.leaving = true
	for _, other := range seats {
		if !other.leaving {
			return true, false
		}
	}
	return true, true
}

// useless tells whether none of the VM's pods, but the one that asks, is ready.
func (s *sharedVMs) useless(st *seat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, other := range s.seats[st.vm] {
		if state := p.current(); other != st && !other.leaving && (state == podReadyVM || state == podMaking) {
			return false
		}
	}
	return true
}

// free gives the seat up for good.
func (s *sharedVMs) free(st *seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seats := s.seats[st.vm]
	if seats[st.pod] != st {
		return
	}
	delete(seats, st.pod)
	if len(seats) == 0 {
		delete(s.vms, st.vm.id)
		delete(s.seats, st.vm)
	}
}

// all lists the VMs and the ids of the pods in each.
func (s *sharedVMs) all() map[*sharedVM][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[*sharedVM][]string, len(s.vms))
	for vm, seats := range s.seats {
		for p := range seats {
			out[vm] = append(out[vm], p.id)
		}
	}
	return out
}
