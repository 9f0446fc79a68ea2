package procmem

import (
	"fmt"
	"os"
)

// Held is the proportional set size of a process in bytes: a page that several processes
// map counts in parts. It is what /proc/PID/smaps_rollup says (proc_pid_smaps(5)), without
// page cache and kernel memory. fs.ErrNotExist when the process has ended.
func Held(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	n, err := sizeOf(text, "Pss:")
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return n, nil
}
