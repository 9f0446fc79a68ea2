package hcsemu

import (
	"strconv"

	"github.com/porthole-run/porthole/internal/hcs"
)

// verbs are the calls that act on a system.
var verbs = map[string]hcs.Verb{}

func init() {
	for _, v := range []hcs.Verb{hcs.Start, hcs.Terminate, hcs.Modify, hcs.GetProperties, hcs.Pause, hcs.Resume, hcs.Save} {
		verbs[v.String()] = v
	}
}

// arity is how many arguments calls that are no verbs have.
var arity = map[string]int{
	"HcsCreateOperation": 0, "HcsCloseOperation": 1, "HcsGetOperationResult": 1, "HcsWaitForOperationResult": 1,
	"HcsCreateComputeSystem": 3, "HcsOpenComputeSystem": 1, "HcsCloseComputeSystem": 1, "HcsSetComputeSystemCallback": 2,
	"HcsEnumerateComputeSystems": 2, "HcsGetServiceProperties": 1, "HcsGrantVmAccess": 2, "HcsRevokeVmAccess": 2,
	"HcsGrantVmGroupAccess": 2, "HcsCreateEmptyRuntimeStateFile": 2, "CreateVirtualDisk": 3, "HNSCall": 3,
	"HcnOpen": 3, "HcnCreate": 3, "HcnDelete": 3, "HcnQuery": 3, "HcnEnumerate": 3, "HcnModify": 3,
}

func parseHandle(s string) uintptr {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return uintptr(n)
}

// call makes one call of a process.
func (s *Service) call(p *session, name string, a []string) ([]string, hcs.HRESULT) {
	if v, ok := verbs[name]; ok {
		if len(a) != 3 || !p.has(a[0]) {
			return nil, hcs.InvalidArgument
		}
		if v == hcs.Start { // its process gets the VM's serial port
			s.mu.Lock()
			s.makers[p.system(a[0])] = p
			s.started[p.pid] = p.system(a[0])
			s.mu.Unlock()
		}
		return nil, s.hcs.Call(v, hcs.SystemHandle(parseHandle(a[0])), hcs.Operation(parseHandle(a[1])), a[2])
	}
	if n, ok := arity[name]; !ok || n != len(a) {
		return nil, hcs.InvalidArgument
	}
	one := func(text string, code hcs.HRESULT) ([]string, hcs.HRESULT) { return []string{text}, code }
	switch name {
	case "HcsCreateOperation":
		o := s.hcs.NewOperation()
		p.mu.Lock()
		p.operations[o] = true
		p.mu.Unlock()
		return one(strconv.FormatUint(uint64(o), 10), hcs.OK)
	case "HcsCloseOperation":
		o := hcs.Operation(parseHandle(a[0]))
		p.mu.Lock()
		delete(p.operations, o)
		p.mu.Unlock()
		s.hcs.CloseOperation(o)
	case "HcsGetOperationResult":
		return one(s.hcs.Result(hcs.Operation(parseHandle(a[0]))))
	case "HcsWaitForOperationResult":
		return one(s.hcs.Wait(hcs.Operation(parseHandle(a[0]))))
	case "HcsCreateComputeSystem":
		return s.handle(p, a[0])(s.hcs.CreateSystem(a[0], a[1], hcs.Operation(parseHandle(a[2]))))
	case "HcsOpenComputeSystem":
		return s.handle(p, a[0])(s.hcs.OpenSystem(a[0]))
	case "HcsCloseComputeSystem":
		h := hcs.SystemHandle(parseHandle(a[0]))
		if p.take(h) {
			s.hcs.CloseSystem(h)
		}
	case "HcsSetComputeSystemCallback":
		if !p.has(a[0]) {
			return nil, hcs.InvalidArgument
		}
		context := uintptr(s.number())
		s.mu.Lock()
		s.contexts[context] = callback{p, a[1]}
		s.mu.Unlock()
		return nil, s.hcs.SetCallback(hcs.SystemHandle(parseHandle(a[0])), context)
	case "HcsEnumerateComputeSystems":
		return nil, s.hcs.Enumerate(a[0], hcs.Operation(parseHandle(a[1])))
	case "HcsGetServiceProperties":
		return one(s.hcs.ServiceProperties(a[0]))
	case "HcsGrantVmAccess":
		return nil, s.hcs.GrantVM(a[0], a[1])
	case "HcsRevokeVmAccess":
		return nil, s.hcs.RevokeVM(a[0], a[1])
	case "HcsGrantVmGroupAccess":
		return nil, s.hcs.GrantGroup(a[1])
	case "HcsCreateEmptyRuntimeStateFile":
		return nil, s.hcs.CreateStateFile(a[1])
	case "HNSCall":
		return s.hnsCall(a[0], a[1])
	case "HcnOpen", "HcnCreate", "HcnDelete", "HcnQuery", "HcnEnumerate", "HcnModify":
		return s.hcn(p, name, a)
	case "CreateVirtualDisk":
		return nil, s.createDisk(a[0], a[1], a[2])
	}
	return nil, hcs.OK
}

// handle is the answer that gives a process a handle.
func (s *Service) handle(p *session, id string) func(hcs.SystemHandle, hcs.HRESULT) ([]string, hcs.HRESULT) {
	return func(h hcs.SystemHandle, code hcs.HRESULT) ([]string, hcs.HRESULT) {
		if h == 0 {
			return nil, code
		}
		p.mu.Lock()
		over := p.over
		p.handles[h] = id
		p.mu.Unlock()
		if over { // the process died while it asked
			s.hcs.Abandon([]hcs.SystemHandle{h}, nil)
		}
		return []string{strconv.FormatUint(uint64(h), 10)}, code
	}
}

// has tells whether a handle is the process's.
func (p *session) has(h string) bool { return p.system(h) != "" }

// system is the id of the system of one of the process's handles.
func (p *session) system(h string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handles[hcs.SystemHandle(parseHandle(h))]
}

// take ends the process's part in a handle.
func (p *session) take(h hcs.SystemHandle) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, had := p.handles[h]
	delete(p.handles, h)
	return had
}
