package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

const windowsHost = true

// hostProcessors is GetActiveProcessorCount of all groups, as the kubelet counts.
func hostProcessors() int {
	return int(windows.GetActiveProcessorCount(windows.ALL_PROCESSOR_GROUPS))
}

var installedMemory = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetPhysicallyInstalledSystemMemory")

// hostMemory is what the firmware's tables say; 0, "not known", where they are silent.
func hostMemory() (int64, error) {
	if err := installedMemory.Find(); err != nil {
		return 0, fmt.Errorf("GetPhysicallyInstalledSystemMemory: %w", err)
	}
	var kib uint64
	if ok, _, _ := installedMemory.Call(uintptr(unsafe.Pointer(&kib))); ok == 0 {
		return 0, nil
	}
	return int64(kib) << 10, nil
}
