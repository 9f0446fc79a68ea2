package hcs

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/windows"
)

// library is computecore.dll. Its functions are there: openLibrary has looked.
type library struct{}

// procs are all functions that are called; a lazy one that is not there would panic.
var procs = []*windows.LazyProc{
	procHcsCreateOperation, procHcsCloseOperation, procHcsGetOperationResult, procHcsWaitForOperationResult,
	procHcsCreateComputeSystem, procHcsOpenComputeSystem, procHcsCloseComputeSystem,
	procHcsStartComputeSystem, procHcsTerminateComputeSystem, procHcsPauseComputeSystem,
	procHcsResumeComputeSystem, procHcsSaveComputeSystem, procHcsGetComputeSystemProperties,
	procHcsModifyComputeSystem, procHcsSetComputeSystemCallback, procHcsEnumerateComputeSystems,
	procHcsGetServiceProperties, procHcsCreateEmptyRuntimeStateFile, procHcsGrantVmAccess, procHcsRevokeVmAccess, procHcsGrantVmGroupAccess,
}

func openLibrary() (Library, error) {
	if err := modcomputecore.Load(); err != nil {
		return nil, fmt.Errorf("load computecore.dll: %w: %w (install Hyper-V: Install-WindowsFeature Hyper-V, Containers)",
			errdefs.ErrFailedPrecondition, err)
	}
	var missing []error
	for _, p := range procs {
		if err := p.Find(); err != nil {
			missing = append(missing, fmt.Errorf("no function %s", p.Name))
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("load computecore.dll: %w: %w (Windows Server 2022, build 20348, or newer is needed)",
			errdefs.ErrFailedPrecondition, errors.Join(missing...))
	}
	return library{}, nil
}

// take copies a string that HCS made and frees it. The reference says LocalFree; HCS
// allocates with the allocator of COM tasks, and other callers free it so.
func take(p *uint16) string {
	if p == nil {
		return ""
	}
	defer windows.CoTaskMemFree(unsafe.Pointer(p))
	return windows.UTF16PtrToString(p)
}

// pointer is a string as HCS takes it; nil for an empty one. HCS copies what it keeps.
func pointer(s string) (*uint16, HRESULT) {
	if s == "" {
		return nil, OK
	}
	p, err := windows.UTF16PtrFromString(s)
	if err != nil { // a NUL within
		return nil, InvalidArgument
	}
	return p, OK
}

// pointers does so for two strings.
func pointers(a, b string) (pa, pb *uint16, code HRESULT) {
	if pa, code = pointer(a); code.Failed() {
		return nil, nil, code
	}
	pb, code = pointer(b)
	return pa, pb, code
}

func (library) NewOperation() Operation { return hcsCreateOperation(0, 0) }

func (library) Wait(op Operation) (string, HRESULT) {
	var result *uint16
	code := hcsWaitForOperationResult(op, windows.INFINITE, &result)
	return take(result), code
}

func (library) Result(op Operation) (string, HRESULT) {
	var result *uint16
	code := hcsGetOperationResult(op, &result)
	return take(result), code
}

func (library) CloseOperation(op Operation) { hcsCloseOperation(op) }

func (library) CreateSystem(id, document string, op Operation) (SystemHandle, HRESULT) {
	pid, pdoc, code := pointers(id, document)
	if code.Failed() {
		return 0, code
	}
	var s SystemHandle
	code = hcsCreateComputeSystem(pid, pdoc, op, 0, &s)
	return s, code
}

func (library) OpenSystem(id string) (SystemHandle, HRESULT) {
	pid, code := pointer(id)
	if code.Failed() {
		return 0, code
	}
	var s SystemHandle
	code = hcsOpenComputeSystem(pid, windows.GENERIC_ALL, &s)
	return s, code
}

func (library) CloseSystem(s SystemHandle) { hcsCloseComputeSystem(s) }

func (library) Call(v Verb, s SystemHandle, op Operation, document string) HRESULT {
	p, code := pointer(document)
	if code.Failed() {
		return code
	}
	switch v {
	case Start:
		return hcsStartComputeSystem(s, op, p)
	case Terminate:
		return hcsTerminateComputeSystem(s, op, p)
	case Modify:
		return hcsModifyComputeSystem(s, op, p, 0)
	case GetProperties:
		return hcsGetComputeSystemProperties(s, op, p)
	case Pause:
		return hcsPauseComputeSystem(s, op, p)
	case Resume:
		return hcsResumeComputeSystem(s, op, p)
	case Save:
		return hcsSaveComputeSystem(s, op, p)
	}
	return NotImplemented
}

func (library) Enumerate(query string, op Operation) HRESULT {
	p, code := pointer(query)
	if code.Failed() {
		return code
	}
	return hcsEnumerateComputeSystems(p, op)
}

func (library) ServiceProperties(query string) (string, HRESULT) {
	p, code := pointer(query)
	if code.Failed() {
		return "", code
	}
	var result *uint16
	code = hcsGetServiceProperties(p, &result)
	return take(result), code
}

// rawEvent is HCS_EVENT.
type rawEvent struct {
	kind      EventType
	data      *uint16
	operation Operation
}

// Callbacks of Go are never freed, so that there is one, which finds its way by context.
var (
	listener atomic.Pointer[func(uintptr, Event)]
	callback = syscall.NewCallback(func(e *rawEvent, context uintptr) uintptr {
		if deliver := listener.Load(); deliver != nil && e != nil {
			ev := Event{Type: e.kind}
			if e.data != nil { // HCS's, until we return
				ev.Data = windows.UTF16PtrToString(e.data)
			}
			(*deliver)(context, ev)
		}
		return 0
	})
)

func (library) OnEvent(deliver func(uintptr, Event)) { listener.Store(&deliver) }

func (library) SetCallback(s SystemHandle, context uintptr) HRESULT {
	const none = 0 // HcsEventOptionNone
	return hcsSetComputeSystemCallback(s, none, context, callback)
}

func (library) CreateStateFile(path string) HRESULT {
	p, code := pointer(path)
	if code.Failed() {
		return code
	}
	return hcsCreateEmptyRuntimeStateFile(p)
}

func (library) GrantVM(vmID, path string) HRESULT {
	pid, ppath, code := pointers(vmID, path)
	if code.Failed() {
		return code
	}
	return hcsGrantVmAccess(pid, ppath)
}

func (library) RevokeVM(vmID, path string) HRESULT {
	pid, ppath, code := pointers(vmID, path)
	if code.Failed() {
		return code
	}
	return hcsRevokeVmAccess(pid, ppath)
}

func (library) GrantGroup(path string) HRESULT {
	if groupMayRead(path) {
		return OK
	}
	p, code := pointer(path)
	if code.Failed() {
		return code
	}
	return hcsGrantVmGroupAccess(p)
}

// vmGroup is NT VIRTUAL MACHINE\Virtual Machines: the accounts of all VMs' workers.
const vmGroup = "S-1-5-83-0"

// groupMayRead tells whether a file's list has an entry by which all VMs may read it. An error is no:
// the grant that follows then says what is wrong.
func groupMayRead(path string) bool {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return false
	}
	acl, _, err := sd.DACL()
	group, serr := windows.StringToSid(vmGroup)
	if err != nil || serr != nil || acl == nil {
		return false
	}
	for i := range uint32(acl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if windows.GetAce(acl, i, &ace) != nil {
			return false
		}
		const read = windows.FILE_GENERIC_READ
		if ace.Header.AceType == windows.ACCESS_ALLOWED_ACE_TYPE && ace.Header.AceFlags&windows.INHERIT_ONLY_ACE == 0 &&
			ace.Mask&read == read && (*windows.SID)(unsafe.Pointer(&ace.SidStart)).Equals(group) {
			return true
		}
	}
	return false
}
