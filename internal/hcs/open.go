package hcs

import "sync"

// Open loads computecore.dll, once a process. It is FailedPrecondition when the DLL or a
// function of it is not there: Hyper-V or the Containers feature is not installed, or Windows is older than
// Server 2022.
func Open() (Library, error) { return opened() }

var opened = sync.OnceValues(openLibrary)
