package ntapi

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Calls that golang.org/x/sys/windows has not (version 0.49).
var (
	ntdll = windows.NewLazySystemDLL("ntdll.dll")

	procReadFile        = ntdll.NewProc("NtReadFile")
	procWriteFile       = ntdll.NewProc("NtWriteFile")
	procFsControl       = ntdll.NewProc("NtFsControlFile")
	procQueryDirectory  = ntdll.NewProc("NtQueryDirectoryFile")
	procFlushEx         = ntdll.NewProc("NtFlushBuffersFileEx")
	procQueryVolume     = ntdll.NewProc("NtQueryVolumeInformationFile")
	procNotifyDirectory = ntdll.NewProc("NtNotifyChangeDirectoryFileEx") // since Windows 10 1709
)

// notifyExtended is DirectoryNotifyExtendedInformation: changes with file ids.
const notifyExtended = 2

// A request is one call that may finish later: its status block and event outlive the
// call, and so must what they point at.
type request struct {
	iosb   windows.IO_STATUS_BLOCK
	event  windows.Handle
	offset int64
}

// events are those that no call uses now; made when there is none.
var events = make(chan windows.Handle, 64)

func newRequest() (*request, error) {
	r := new(request)
	select {
	case r.event = <-events:
		return r, nil
	default:
	}
	var err error
	r.event, err = windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return nil, &Error{"CreateEvent", StatusInsufficientResource}
	}
	return r, nil
}

func (r *request) free() {
	if windows.ResetEvent(r.event) == nil {
		select {
		case events <- r.event:
			return
		default:
		}
	}
	_ = windows.CloseHandle(r.event) // it is this process' own
}

// call makes the call with a request and the arguments that build gives, waits for its
// end, and returns how many bytes it moved. keep are the buffers that the system reads or
// writes until then.
func call(op string, proc *windows.LazyProc, keep [][]byte, build func(r *request) []uintptr) (int, error) {
	return callTaken(op, proc, keep, build, nil)
}

// callTaken is call, and calls taken, if it is not nil, when the system has the request, before it
// waits for its end.
func callTaken(op string, proc *windows.LazyProc, keep [][]byte, build func(r *request) []uintptr, taken func()) (int, error) {
	if err := proc.Find(); err != nil {
		return 0, &Error{op, StatusNotImplemented}
	}
	r, err := newRequest()
	if err != nil {
		return 0, err
	}
	defer r.free()
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(r)
	for _, b := range keep {
		if len(b) > 0 {
			pin.Pin(unsafe.SliceData(b))
		}
	}
	code, _, _ := proc.Call(build(r)...)
	status := Status(code)
	if taken != nil {
		taken()
	}
	if status == StatusPending {
		if _, err := windows.WaitForSingleObject(r.event, windows.INFINITE); err != nil {
			// The system may still write to the buffers: nothing may go on.
			panic("ntapi: wait for a call's end: " + err.Error())
		}
		status = Status(r.iosb.Status)
	}
	if status != StatusSuccess {
		return int(r.iosb.Information), &Error{op, status}
	}
	return int(r.iosb.Information), nil
}

// failed turns what x/sys returned into an *Error.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	if s, ok := err.(windows.NTStatus); ok {
		return &Error{op, Status(s)}
	}
	return &Error{op, StatusIODeviceError}
}

func address(b []byte) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}
