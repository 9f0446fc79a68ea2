package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Process is one process of this PID namespace.
type Process struct {
	PID, Parent int
	Args        []string
}

// Processes lists what runs, without the kernel's own threads.
func Processes() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err1 := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		cmdline, err2 := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err1 != nil || err2 != nil || len(cmdline) == 0 {
			continue // it ended meanwhile, or is the kernel's
		}
		parent, err := parentOf(string(stat))
		if err != nil {
			return nil, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
		all = append(all, Process{pid, parent, strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")})
	}
	return all, nil
}

// parentOf reads the parent from the text of a stat file. The name in it may hold
// blanks and brackets.
func parentOf(stat string) (int, error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if end < 0 || len(fields) < 2 {
		return 0, fmt.Errorf("%q is no process state", stat)
	}
	return strconv.Atoi(fields[1])
}

// IsShim tells whether a process is a shim of Porthole, be it under Wine.
func (p Process) IsShim() bool {
	for i, a := range p.Args[:len(p.Args)-1] {
		name := a[strings.LastIndexAny(a, `/\`)+1:]
		if (name == "porthole" || name == "porthole.exe") && p.Args[i+1] == "shim" {
			return i < 2 // Wine's loader may be before it
		}
	}
	return false
}

// Shims picks the shims of Porthole that were given dir or what is below it.
func Shims(all []Process, dir string) []Process {
	return Pick(all, func(p Process) bool {
		return p.IsShim() && slices.ContainsFunc(p.Args[2:], func(a string) bool {
			return a == dir || strings.HasPrefix(a, dir+"/") || strings.HasPrefix(a, dir+`\`)
		})
	})
}

// Children picks the processes whose parent is the one given.
func Children(all []Process, parent int) []Process {
	return Pick(all, func(p Process) bool { return p.Parent == parent })
}

// Pick returns those that are wanted.
func Pick(all []Process, want func(Process) bool) []Process {
	var out []Process
	for _, p := range all {
		if want(p) {
			out = append(out, p)
		}
	}
	return out
}

// Shims returns the process ids of the server's shims: that of one pod's sandbox, or
// with an empty id all.
func (s *Server) Shims(sandbox string) ([]int, error) {
	all, err := Processes()
	return pids(s.shims(all, sandbox)), err
}

// VMs returns the process ids of the server's QEMUs, the children of Shims.
func (s *Server) VMs(sandbox string) ([]int, error) {
	all, err := Processes()
	var vms []Process
	if s.windows != nil { // they are the emulator's, which is in this process, and named for their pods
		return pids(Pick(Children(all, os.Getpid()), func(p Process) bool {
			return strings.Contains(filepath.Base(p.Args[0]), "qemu-system") && (sandbox == "" || slices.Contains(p.Args, sandbox))
		})), err
	}
	for _, shim := range s.shims(all, sandbox) {
		vms = append(vms, Pick(Children(all, shim.PID), func(p Process) bool {
			return strings.Contains(filepath.Base(p.Args[0]), "qemu-system")
		})...)
	}
	return pids(vms), err
}

func (s *Server) shims(all []Process, sandbox string) []Process {
	dir := filepath.Join(s.State, "vm", sandbox)
	if s.windows != nil {
		dir = s.windows.Path(dir)
	}
	return Shims(all, dir)
}

func pids(all []Process) []int {
	var out []int
	for _, p := range all {
		out = append(out, p.PID)
	}
	return out
}
