package harness

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Processes returns the command lines of all processes of this PID namespace, by
// process id. The kernel's own have none.
func Processes() (map[int][]string, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	all := map[int][]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue // it ended, or is the kernel's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		all[pid] = strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	}
	return all, nil
}

// Shims returns the process ids of the server's shims: that of one pod's sandbox, or
// with an empty id all.
func (s *Server) Shims(sandbox string) ([]int, error) {
	return pids(func(_ int, args []string) bool {
		return len(args) > 1 && strings.HasSuffix(args[0], "porthole") && args[1] == "shim" &&
			strings.Contains(strings.Join(args, " "), filepath.Join(s.State, "vm", sandbox))
	})
}

// VMs returns the process ids of the server's QEMUs, the children of Shims.
func (s *Server) VMs(sandbox string) ([]int, error) {
	shims, err := s.Shims(sandbox)
	if err != nil {
		return nil, err
	}
	return pids(func(pid int, args []string) bool {
		return strings.Contains(filepath.Base(args[0]), "qemu-system") && slices.Contains(shims, parentOf(pid))
	})
}

func pids(is func(pid int, args []string) bool) ([]int, error) {
	all, err := Processes()
	if err != nil {
		return nil, err
	}
	var found []int
	for pid, args := range all {
		if is(pid, args) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// parentOf returns 0 when the process has ended.
func parentOf(pid int) int {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// The command's name is in parentheses and may hold spaces.
	fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}
