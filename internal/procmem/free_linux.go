package procmem

import "os"

// Available is the memory in bytes that the host can give without harm: MemAvailable of
// /proc/meminfo (proc_meminfo(5)).
func Available() (uint64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return sizeOf(text, "MemAvailable:")
}
