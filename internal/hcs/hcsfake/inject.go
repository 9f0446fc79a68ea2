package hcsfake

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
)

// plan is what is to happen at one call of a function.
type plan struct {
	n       int
	name    string
	code    hcs.HRESULT
	refused bool // fails at once, not at the operation's end
	held    <-chan struct{}
	before  func()
}

func (p plan) wait() {
	if p.before != nil {
		p.before()
	}
	if p.held != nil {
		<-p.held
	}
}

func (p plan) text() string { return fmt.Sprintf("call %d of %s was made to fail", p.n, p.name) }

// plan counts a call and returns what is to happen. The lock is held.
func (s *Service) plan(name string) plan {
	s.calls[name]++
	p := s.plans[name][s.calls[name]]
	p.n, p.name = s.calls[name], name
	return p
}

func (s *Service) change(name string, n int, f func(*plan)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plans[name] == nil {
		s.plans[name] = map[int]plan{}
	}
	n += s.calls[name]
	p := s.plans[name][n]
	f(&p)
	s.plans[name][n] = p
}

// Fail makes the n-th call of a function from now on, counting from 1, fail with code: at
// the end of its operation, if it has one. Functions go by the names that computecore.dll has for them.
func (s *Service) Fail(name string, n int, code hcs.HRESULT) {
	s.change(name, n, func(p *plan) { p.code = code })
}

// Refuse is Fail, but the call does not start its operation.
func (s *Service) Refuse(name string, n int, code hcs.HRESULT) {
	s.change(name, n, func(p *plan) { p.code, p.refused = code, true })
}

// Hold makes the operation of the n-th call of a function wait for release.
func (s *Service) Hold(name string, n int) (release func()) {
	ch := make(chan struct{})
	s.change(name, n, func(p *plan) { p.held = ch })
	return func() { close(ch) }
}

// Before runs f within the n-th call of a function, before it does its work.
func (s *Service) Before(name string, n int, f func()) {
	s.change(name, n, func(p *plan) { p.before = f })
}

// Calls tells how often each function was called, by name.
func (s *Service) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// OnStart sets what runs, on a goroutine of its own, when a VM has started. Settle waits for it.
func (s *Service) OnStart(f func(*VM)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onStart = f
}

// Settle waits for all operations and for what OnStart has begun.
func (s *Service) Settle() { s.wg.Wait() }

// Crash is a guest's panic: its text is reported, and the VM exits.
func (s *Service) Crash(id, log string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if y := s.systems[id]; y != nil && y.state != "Stopped" {
		b, _ := json.Marshal(map[string]any{"SystemId": id, "CrashLog": log, "CrashParameters": []int{1}})
		s.emit(y, hcs.Event{Type: hcs.SystemCrashReport, Data: string(b)})
		s.end(y, "UnexpectedExit")
	}
}

// Exit is the end of a VM by itself.
func (s *Service) Exit(id, exitType string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if y := s.systems[id]; y != nil {
		s.end(y, exitType)
	}
}

// Stray delivers an event that belongs to no system.
func (s *Service) Stray(e hcs.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver(s.next+1000, e)
}

// Restart is the service's own restart: handles are dead from now on. VMs live on as keep says.
func (s *Service) Restart(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.handles {
		if h.dead {
			continue
		}
		h.dead = true
		if h.context != 0 {
			s.deliver(h.context, hcs.Event{Type: hcs.ServiceDisconnected})
		}
	}
	if !keep {
		for id, y := range s.systems {
			y.state = "Stopped"
			closeOnce(y.ended)
			delete(s.systems, id)
		}
	}
}

// end ends a system once and tells its handles. The lock is held.
func (s *Service) end(y *system, exitType string) {
	if y.state == "Stopped" {
		return
	}
	y.state, y.exit = "Stopped", exitType
	y.disks, y.nics = map[string]disk{}, map[string]map[string]any{}
	closeOnce(y.ended)
	status := hcs.OK
	if exitType == "UnexpectedExit" {
		status = hcs.UnexpectedExit
	}
	b, _ := json.Marshal(map[string]any{"Status": int32(uint32(status)), "ExitType": exitType})
	s.emit(y, hcs.Event{Type: hcs.SystemExited, Data: string(b)})
}

func (s *Service) emit(y *system, e hcs.Event) {
	for _, k := range slices.Sorted(maps.Keys(s.handles)) {
		if h := s.handles[k]; h.system == y && h.context != 0 && !h.dead {
			s.deliver(h.context, e)
		}
	}
}

func closeOnce(ch chan struct{}) {
	select {
	case <-ch:
	default:
		close(ch)
	}
}

func (s *Service) note(format string, args ...any) {
	s.misuse = append(s.misuse, fmt.Sprintf(format, args...))
}

// Misuse is what was done to the service that its reference forbids.
func (s *Service) Misuse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.misuse)
}

// String prints systems, open handles and operations, and files that single VMs may use. It is "" when there is nothing.
func (s *Service) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(s.systems)) {
		y := s.systems[id]
		cpus := at(y.doc, "VirtualMachine", "ComputeTopology", "Processor", "Count")
		fmt.Fprintf(&b, "vm %s %s of %s, %s MB, %v cpus\n", id, y.state, y.doc["Owner"], y.memory, cpus)
		for _, k := range slices.Sorted(maps.Keys(y.disks)) {
			mode := "rw"
			if y.disks[k].readOnly {
				mode = "ro"
			}
			fmt.Fprintf(&b, "  disk %s %s %s\n", k, mode, y.disks[k].path)
		}
		for _, k := range slices.Sorted(maps.Keys(y.nics)) {
			fmt.Fprintf(&b, "  nic %s on %s, %s\n", k, y.nics[k]["EndpointId"], y.nics[k]["MacAddress"])
		}
		if y.limits != nil {
			fmt.Fprintf(&b, "  limit %v weight %v\n", y.limits["Limit"], y.limits["Weight"])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.handles)) {
		fmt.Fprintf(&b, "handle of %s\n", s.handles[k].id)
	}
	for range s.ops {
		b.WriteString("operation\n")
	}
	for _, path := range slices.Sorted(maps.Keys(s.access)) {
		for _, who := range slices.Sorted(maps.Keys(s.access[path])) {
			if who != "group" {
				fmt.Fprintf(&b, "grant %s to %s\n", path, who)
			}
		}
	}
	return b.String()
}

// Groups are the files that all VMs may read.
func (s *Service) Groups() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, path := range slices.Sorted(maps.Keys(s.access)) {
		if s.access[path]["group"] {
			out = append(out, path)
		}
	}
	return out
}
