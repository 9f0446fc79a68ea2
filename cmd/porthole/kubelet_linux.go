package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// windowsHost says whether the kubelet of this host is Windows'.
const windowsHost = false

// hostProcessors is how many processors the host has for the kubelet.
func hostProcessors() int { return runtime.NumCPU() }

// hostMemory is the host's memory in bytes.
func hostMemory() (int64, error) {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return 0, fmt.Errorf("sysinfo: %w", err)
	}
	return int64(s.Totalram) * int64(s.Unit), nil
}
