package hcsfake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/porthole-run/porthole/internal/hcs"
)

// Service is the fake. The zero value is not one: New.
type Service struct {
	wg sync.WaitGroup // operations that run

	mu      sync.Mutex // guards the fields below
	deliver func(uintptr, hcs.Event)
	onStart func(*VM)
	machine Machine
	saves   bool                // what is saved is data, as all there is
	local   func(string) string // a path of the caller's as one of this process
	next    uintptr             // the last handle
	ops     map[hcs.Operation]*operation
	handles map[hcs.SystemHandle]*handle
	systems map[string]*system
	access  map[string]map[string]bool // by file: VM ids, and "group"
	calls   map[string]int
	plans   map[string]map[int]plan
	misuse  []string
}

var _ hcs.Library = (*Service)(nil)

// operation is an HCS_OPERATION.
type operation struct {
	state  string // new, running, ended
	name   string // of the call
	handle hcs.SystemHandle
	done   chan struct{}
	code   hcs.HRESULT
	result string
}

// handle is an HCS_SYSTEM.
type handle struct {
	id      string
	system  *system // nil: its system was not made
	context uintptr // of its callback
	dead    bool    // the service has restarted
}

// system is a compute system.
type system struct {
	id     string
	doc    map[string]any
	state  string // Created, Running, Paused, Stopped
	exit   string
	memory json.Number
	limits map[string]any
	disks  map[string]disk           // by "controller guid:lun"
	nics   map[string]map[string]any // by GUID
	word   int64                     // what the guest's memory holds, and a saved state keeps
	ended  chan struct{}
}

// disk is an attached disk.
type disk struct {
	path     string
	readOnly bool
}

// New makes a service without systems.
func New() *Service {
	return &Service{
		ops:     map[hcs.Operation]*operation{},
		handles: map[hcs.SystemHandle]*handle{},
		systems: map[string]*system{},
		access:  map[string]map[string]bool{},
		calls:   map[string]int{},
		plans:   map[string]map[int]plan{},
		local:   func(path string) string { return path },
		machine: dataAlone{},
		saves:   true,
	}
}

// failure is how a call fails and what the service says of it.
type failure struct {
	code hcs.HRESULT
	text string
}

func (f *failure) document() string {
	b, _ := json.Marshal(map[string]any{
		"Error": int32(f.code), "ErrorMessage": "",
		"ErrorEvents": []any{map[string]any{
			"Message": f.text, "Provider": "17a2722d-6f63-5d49-9b8e-0a3a3bb03a9a", "EventId": 12030, "Flags": 0, "Source": "",
		}},
	})
	return string(b)
}

// NewOperation implements hcs.Library.
func (s *Service) NewOperation() hcs.Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan("HcsCreateOperation").code.Failed() {
		return 0
	}
	s.next++
	o := hcs.Operation(s.next)
	s.ops[o] = &operation{state: "new", done: make(chan struct{})}
	return o
}

// Wait implements hcs.Library.
func (s *Service) Wait(o hcs.Operation) (string, hcs.HRESULT) {
	s.mu.Lock()
	op := s.ops[o]
	if op == nil || op.state == "new" {
		s.note("wait for an operation that was not started")
		s.mu.Unlock()
		return "", hcs.OperationNotStarted
	}
	s.mu.Unlock()
	<-op.done
	return op.result, op.code
}

// Result implements hcs.Library.
func (s *Service) Result(o hcs.Operation) (string, hcs.HRESULT) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.ops[o]
	switch {
	case op == nil:
		s.note("result of a closed operation")
		return "", hcs.OperationNotStarted
	case op.state == "running":
		return "", hcs.OperationPending
	}
	return op.result, op.code
}

// CloseOperation implements hcs.Library.
func (s *Service) CloseOperation(o hcs.Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.ops[o]
	switch {
	case op == nil:
		s.note("operation closed twice")
	case op.state == "running":
		s.note("operation of %s closed while it runs", op.name)
	}
	delete(s.ops, o)
}

// run starts an operation whose work is do. do runs with the lock held.
func (s *Service) run(name string, o hcs.Operation, h hcs.SystemHandle, do func() (string, *failure)) hcs.HRESULT {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.ops[o]
	if op == nil || op.state != "new" {
		s.note("%s with an operation that is not new", name)
		return hcs.OperationAlreadyStarted
	}
	p := s.plan(name)
	if p.refused {
		f := &failure{p.code, p.text()}
		op.code, op.result = f.code, f.document()
		return f.code
	}
	op.state, op.name, op.handle = "running", name, h
	s.wg.Go(func() {
		p.wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		var f *failure
		switch {
		case p.code.Failed():
			f = &failure{p.code, p.text()}
		case h != 0 && s.handles[h] != nil && s.handles[h].dead:
			f = &failure{hcs.ServiceDisconnect, "the service has restarted"}
		default:
			op.result, f = do()
		}
		if f != nil {
			op.code, op.result = f.code, f.document()
		}
		op.state = "ended"
		close(op.done)
	})
	return hcs.OK
}

// CreateSystem implements hcs.Library.
func (s *Service) CreateSystem(id, document string, o hcs.Operation) (hcs.SystemHandle, hcs.HRESULT) {
	s.mu.Lock()
	s.next++
	h := hcs.SystemHandle(s.next)
	hd := &handle{id: id}
	s.handles[h] = hd
	s.mu.Unlock()
	code := s.run("HcsCreateComputeSystem", o, h, func() (string, *failure) {
		doc, err := parseSystem(document)
		if err != nil {
			return "", &failure{hcs.InvalidJSON, err.Error()}
		}
		if s.systems[id] != nil {
			return "", &failure{hcs.SystemAlreadyExists, "a compute system with this identifier exists"}
		}
		boot := at(doc, "VirtualMachine", "Chipset", "LinuxKernelDirect")
		for _, k := range []string{"KernelFilePath", "InitRdPath"} {
			if p, ok := at(boot, k).(string); ok {
				if f := s.readable(p, id); f != nil {
					return "", f
				}
			}
		}
		state, f := s.restored(doc, id)
		if f != nil {
			return "", f
		}
		y := &system{
			word: state.Memory,
			id:   id, doc: doc, state: "Created", disks: map[string]disk{}, nics: map[string]map[string]any{},
			memory: at(doc, "VirtualMachine", "ComputeTopology", "Memory", "SizeInMB").(json.Number), ended: make(chan struct{}),
		}
		if f := s.attachAll(y); f != nil {
			return "", f
		}
		s.systems[id], hd.system = y, y
		return "", nil
	})
	if code.Failed() {
		s.mu.Lock()
		delete(s.handles, h)
		s.mu.Unlock()
		return 0, code
	}
	return h, hcs.OK
}

// readable tells why a VM's worker cannot read a file.
func (s *Service) readable(path, id string) *failure {
	if _, err := os.Stat(s.local(path)); err != nil {
		return &failure{hcs.FileNotFound, fmt.Sprintf("cannot find '%s'", path)}
	}
	if a := s.access[s.local(path)]; !a["group"] && !a[id] {
		return &failure{hcs.GeneralAccessDenied, fmt.Sprintf("the VM's account lacks the access to open '%s'", path)}
	}
	return nil
}

// OpenSystem implements hcs.Library.
func (s *Service) OpenSystem(id string) (hcs.SystemHandle, hcs.HRESULT) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plan("HcsOpenComputeSystem"); p.code.Failed() {
		return 0, p.code
	}
	y := s.systems[id]
	if y == nil {
		return 0, hcs.SystemNotFound
	}
	s.next++
	h := hcs.SystemHandle(s.next)
	s.handles[h] = &handle{id: id, system: y}
	return h, hcs.OK
}

// CloseSystem implements hcs.Library.
func (s *Service) CloseSystem(h hcs.SystemHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hd := s.handles[h]
	if hd == nil {
		s.note("handle closed twice")
		return
	}
	for _, op := range s.ops {
		if op.handle == h && op.state == "running" {
			s.note("handle of %s closed while %s runs", hd.id, op.name)
		}
	}
	s.letGo(h)
}

// SetCallback implements hcs.Library.
func (s *Service) SetCallback(h hcs.SystemHandle, context uintptr) hcs.HRESULT {
	s.mu.Lock()
	p := s.plan("HcsSetComputeSystemCallback")
	s.mu.Unlock()
	p.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	hd := s.handles[h]
	switch {
	case p.code.Failed():
		return p.code
	case hd == nil:
		s.note("callback of a closed handle")
		return hcs.InvalidArgument
	case hd.context != 0:
		return hcs.CallbackAlreadySet
	}
	hd.context = context
	return hcs.OK
}

// OnEvent implements hcs.Library.
func (s *Service) OnEvent(deliver func(uintptr, hcs.Event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = deliver
}

// CreateStateFile implements hcs.Library.
func (s *Service) CreateStateFile(path string) hcs.HRESULT {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plan("HcsCreateEmptyRuntimeStateFile"); p.code.Failed() {
		return p.code
	}
	if filepath.Ext(path) != ".vmrs" {
		return hcs.InvalidArgument
	}
	f, err := os.OpenFile(s.local(path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return hcs.AlreadyExists
	case err != nil || f.Close() != nil:
		return hcs.PathNotFound
	}
	return hcs.OK
}

// GrantVM implements hcs.Library.
func (s *Service) GrantVM(vmID, path string) hcs.HRESULT {
	return s.grant("HcsGrantVmAccess", vmID, path, true)
}

// RevokeVM implements hcs.Library.
func (s *Service) RevokeVM(vmID, path string) hcs.HRESULT {
	return s.grant("HcsRevokeVmAccess", vmID, path, false)
}

// GrantGroup implements hcs.Library.
func (s *Service) GrantGroup(path string) hcs.HRESULT {
	return s.grant("HcsGrantVmGroupAccess", "group", path, true)
}

func (s *Service) grant(name, who, path string, give bool) hcs.HRESULT {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plan(name); p.code.Failed() {
		return p.code
	}
	path = s.local(path)
	if _, err := os.Stat(path); err != nil {
		delete(s.access, path)
		return hcs.FileNotFound
	}
	if s.access[path] == nil {
		s.access[path] = map[string]bool{}
	}
	if give {
		s.access[path][who] = true
	} else {
		delete(s.access[path], who)
	}
	return hcs.OK
}

// ServiceProperties implements hcs.Library.
func (s *Service) ServiceProperties(query string) (string, hcs.HRESULT) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plan("HcsGetServiceProperties"); p.code.Failed() {
		f := failure{p.code, p.text()}
		return f.document(), p.code
	}
	v, err := parse(query)
	if err != nil || obj(map[string]check{"PropertyTypes": func(string, any) error { return nil }})("query", v) != nil {
		return "", hcs.InvalidJSON
	}
	return `{"Properties":[{"SupportedSchemaVersions":[{"Major":2,"Minor":1},{"Major":2,"Minor":5}]}]}`, hcs.OK
}
