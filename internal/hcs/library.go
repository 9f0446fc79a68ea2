package hcs

// Handles of computecore.dll. 0 is none.
type (
	Operation    uintptr // HCS_OPERATION
	SystemHandle uintptr // HCS_SYSTEM
)

// Verb is a function of computecore.dll that acts on one compute system: all take the
// system, an operation and a document.
type Verb int

// The functions that Host and System call.
const (
	Start         Verb = iota // HcsStartComputeSystem
	Terminate                 // HcsTerminateComputeSystem
	Modify                    // HcsModifyComputeSystem
	GetProperties             // HcsGetComputeSystemProperties
	Pause                     // HcsPauseComputeSystem
	Resume                    // HcsResumeComputeSystem
	Save                      // HcsSaveComputeSystem
)

// String is the name of the function.
func (v Verb) String() string {
	return [...]string{
		"HcsStartComputeSystem", "HcsTerminateComputeSystem", "HcsModifyComputeSystem",
		"HcsGetComputeSystemProperties", "HcsPauseComputeSystem", "HcsResumeComputeSystem", "HcsSaveComputeSystem",
	}[v]
}

// Library is computecore.dll: its functions with the types of Go, and nothing more. Documents that
// are empty are passed as null. A function that takes an operation only starts it; how
// it ended is what Wait returns. Methods are safe for concurrent use.
type Library interface {
	Operations
	Systems
	Files
	// OnEvent sets what hears the events of all systems: it is called once, before the first
	// SetCallback. deliver may be called on any thread, and neither blocks nor calls the
	// Library; context is what SetCallback was given.
	OnEvent(deliver func(context uintptr, e Event))
	// ServiceProperties asks the service of itself (HcsGetServiceProperties).
	ServiceProperties(query string) (document string, code HRESULT)
}

// Operations are calls that run.
type Operations interface {
	// NewOperation makes an operation for one call; 0 when it cannot.
	NewOperation() Operation
	// Wait waits, without bound, for the end of a started operation and returns its result.
	Wait(op Operation) (document string, code HRESULT)
	// Result returns what a call that failed to start its operation has left there.
	Result(op Operation) (document string, code HRESULT)
	// CloseOperation frees an operation, which must not run any more.
	CloseOperation(op Operation)
}

// Systems are the compute systems.
type Systems interface {
	// CreateSystem makes a compute system. The handle is there at once, the system when
	// the operation has ended.
	CreateSystem(id, document string, op Operation) (SystemHandle, HRESULT)
	// OpenSystem returns another handle of a compute system.
	OpenSystem(id string) (SystemHandle, HRESULT)
	// CloseSystem closes a handle, under which no operation may run. Its events stop.
	CloseSystem(s SystemHandle)
	// Call starts the operation of a verb.
	Call(v Verb, s SystemHandle, op Operation, document string) HRESULT
	// Enumerate lists compute systems.
	Enumerate(query string, op Operation) HRESULT
	// SetCallback makes the events of a handle known, by a number, until it is closed. It is
	// called once a handle.
	SetCallback(s SystemHandle, context uintptr) HRESULT
}

// Files are VMs' files, and the access to them of VMs' workers, which are accounts of their own.
type Files interface {
	// CreateStateFile makes an empty file for a VM's saved state.
	CreateStateFile(path string) HRESULT
	// GrantVM lets one VM read and write a file.
	GrantVM(vmID, path string) HRESULT
	// RevokeVM takes that back.
	RevokeVM(vmID, path string) HRESULT
	// GrantGroup lets all VMs read a file; it changes nothing when they may already.
	GrantGroup(path string) HRESULT
}
