package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupRoot is where control groups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupParent is the control group, below the root of each hierarchy, that a run is
// in: this process and all that it starts, and containers' own groups. It counts CPU
// time without what else runs on the machine, and is removed in the end.
const cgroupParent = "/porthole-bench"

// cpuMeter reads the CPU time of cgroupParent.
type cpuMeter struct {
	file  string
	parse func(string) (float64, error)
}

// startMeter puts this process into the control group.
func startMeter(u *undo) (*cpuMeter, error) {
	m, hierarchy, controller := &cpuMeter{}, cgroupRoot, ""
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		m.file, m.parse = filepath.Join(cgroupRoot, cgroupParent, "cpu.stat"), parseUsageV2
	} else {
		// cpuacct is mounted with cpu, and has its own name besides.
		hierarchy, controller = filepath.Join(cgroupRoot, "cpuacct"), "cpuacct"
		m.file, m.parse = filepath.Join(hierarchy, cgroupParent, "cpuacct.usage"), parseUsageV1
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	before := filepath.Join(hierarchy, ownCgroup(string(text), controller))
	// Version 2 allows no processes in a group that has groups with limits in it.
	ours := filepath.Join(hierarchy, cgroupParent, "self")
	u.add(removeCgroups)
	if err := os.MkdirAll(ours, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	if err := enter(ours); err != nil {
		return nil, err
	}
	u.add(func() error { return enter(before) })
	return m, nil
}

func enter(group string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0)
	if err != nil {
		return fmt.Errorf("enter control group: %w", err)
	}
	return nil
}

// ownCgroup finds a process's group in its cgroup file; no controller means version 2.
func ownCgroup(text, controller string) string {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for name := range strings.SplitSeq(f[1], ",") {
			if name == controller {
				return f[2]
			}
		}
	}
	return "/"
}

// seconds is the CPU time until now.
func (m *cpuMeter) seconds() (float64, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return 0, err
	}
	return m.parse(string(text))
}

// parseUsageV1 reads cpuacct.usage, in nanoseconds.
func parseUsageV1(text string) (float64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return float64(n) / 1e9, err
}

// parseUsageV2 reads cpu.stat.
func parseUsageV2(text string) (float64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return float64(n) / 1e6, err
		}
	}
	return 0, errors.New("cpu.stat has no usage_usec")
}

// removeCgroups removes what is left of the control groups, version 1 or 2.
func removeCgroups() error {
	var errs []error
	for _, pattern := range []string{cgroupRoot + cgroupParent, cgroupRoot + "/*" + cgroupParent} {
		tops, err := filepath.Glob(pattern)
		errs = append(errs, err)
		for _, top := range tops {
			// Two names may lead to one hierarchy.
			if err := removeCgroup(top); !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// removeCgroup removes a control group and those in it. One with processes in it stays
// and is an error.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// loadAverage is the machine's load over the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
