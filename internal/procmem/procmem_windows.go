package procmem

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// counters is PROCESS_MEMORY_COUNTERS_EX of psapi.h.
type counters struct {
	size                       uint32
	pageFaults                 uint32
	peakWorkingSet             uintptr
	workingSet                 uintptr
	quotaPeakPagedPoolUsage    uintptr
	quotaPagedPoolUsage        uintptr
	quotaPeakNonPagedPoolUsage uintptr
	quotaNonPagedPoolUsage     uintptr
	pagefileUsage              uintptr
	peakPagefileUsage          uintptr
	privateUsage               uintptr
}

var globalMemoryStatusEx = windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")

// memoryStatus is MEMORYSTATUSEX of sysinfoapi.h.
type memoryStatus struct {
	size, load                                                                 uint32
	total, available, totalPage, availablePage, totalVirtual, availableVirtual uint64
	availableExtended                                                          uint64
}

// Available is the physical memory in bytes that is not in use (GlobalMemoryStatusEx).
func Available() (uint64, error) {
	s := memoryStatus{}
	s.size = uint32(unsafe.Sizeof(s))
	if r, _, err := globalMemoryStatusEx.Call(uintptr(unsafe.Pointer(&s))); r == 0 {
		return 0, fmt.Errorf("read memory of the host: %w", err)
	}
	return s.available, nil
}

var getProcessMemoryInfo = windows.NewLazySystemDLL("psapi.dll").NewProc("GetProcessMemoryInfo")

// Held is the working set of a process in bytes (GetProcessMemoryInfo): pages that several
// processes map count in each. A VM's memory is not its shim's: it belongs to vmmem.
func Held(pid int) (uint64, error) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return 0, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer windows.CloseHandle(h)
	c := counters{}
	c.size = uint32(unsafe.Sizeof(c))
	if r, _, err := getProcessMemoryInfo.Call(uintptr(h), uintptr(unsafe.Pointer(&c)), uintptr(c.size)); r == 0 {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return uint64(c.workingSet), nil
}
