package hcsfake

import (
	"errors"

	"github.com/porthole-run/porthole/internal/hcs"
)

// Machine is what a service's systems are made of when they are more than data. VMs go by
// their ids, paths are of this process. Methods may block, are called from any goroutine, and not
// with a lock of the service held: a VM may end meanwhile. An error that is a *MachineError
// says which code the caller gets; others are E_FAIL.
type Machine interface {
	// Start runs the guest of a system. An end that nobody asked for is told by vm's Crash or Exit.
	Start(vm *VM) error
	// Stop ends a guest, if it runs, and returns when it has.
	Stop(id string)
	// Pause stops the processors, or lets them go on.
	Pause(id string, paused bool) error
	// Attach adds a disk; Detach takes it away.
	Attach(id, controller, lun, path string, readOnly bool) error
	Detach(id, controller, lun string) error
	// Plug adds a NIC on an endpoint of HNS; Unplug takes it away.
	Plug(id, nic, endpoint, mac string) error
	Unplug(id, nic string) error
	// SetMemory changes the size, in MB.
	SetMemory(id, megabytes string) error
}

// dataAlone is the machine of a service that runs no guests.
type dataAlone struct{}

func (dataAlone) Start(*VM) error                        { return nil }
func (dataAlone) Stop(string)                            {}
func (dataAlone) Pause(string, bool) error               { return nil }
func (dataAlone) Attach(_, _, _, _ string, _ bool) error { return nil }
func (dataAlone) Detach(_, _, _ string) error            { return nil }
func (dataAlone) Plug(_, _, _, _ string) error           { return nil }
func (dataAlone) Unplug(_, _ string) error               { return nil }
func (dataAlone) SetMemory(_, _ string) error            { return nil }

// MachineError is how a call of a Machine fails.
type MachineError struct {
	Code hcs.HRESULT
	Text string
}

func (e *MachineError) Error() string { return e.Text }

// RunOn makes a Machine of the systems that are started from now on. It is called before any is.
func (s *Service) RunOn(m Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine, s.saves = m, false
}

// Translate sets what makes a caller's path one of this process. It is called before
// anything else is.
func (s *Service) Translate(local func(string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local = local
}

// work lets the machine do something while the lock, which is held, is not.
func (s *Service) work(do func() error) *failure {
	s.mu.Unlock()
	err := do()
	s.mu.Lock()
	if err == nil {
		return nil
	}
	if m := new(MachineError); errors.As(err, &m) {
		return &failure{m.Code, m.Text}
	}
	return &failure{hcs.Fail, err.Error()}
}

// stop ends what runs of a system. The lock is held.
func (s *Service) stop(y *system) {
	if y.state != "Stopped" {
		s.halt(y)
	}
}

// halt stops a system's machine, which may have begun to run after the system had ended. The lock is held.
func (s *Service) halt(y *system) {
	_ = s.work(func() error {
		s.machine.Stop(y.id)
		return nil
	})
}

// Abandon closes the handles and operations of a process that has died, whatever it did.
func (s *Service) Abandon(handles []hcs.SystemHandle, operations []hcs.Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range operations {
		delete(s.ops, o)
	}
	for _, h := range handles {
		if s.handles[h] != nil {
			s.letGo(h)
		}
	}
}

// letGo ends a handle and, with the last one of a system that is to end so, the system.
func (s *Service) letGo(h hcs.SystemHandle) {
	y := s.handles[h].system
	delete(s.handles, h)
	if y == nil {
		return
	}
	for _, other := range s.handles {
		if other.system == y {
			return
		}
	}
	if y.doc["ShouldTerminateOnLastHandleClosed"] == true || y.state == "Stopped" {
		s.stop(y)
		s.end(y, "ForcedExit")
		delete(s.systems, y.id)
	}
}
