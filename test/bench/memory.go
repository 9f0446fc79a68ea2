package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// process is one process of the machine.
type process struct {
	pid, parent int
	args        []string
}

// processes lists what runs, without the kernel's threads.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []process
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
		out = append(out, process{pid, parent, strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")})
	}
	return out, nil
}

// parentOf reads the parent from the text of a stat file. The name in it may hold
// blanks and brackets.
func parentOf(stat string) (int, error) {
	_, rest, ok := cutLast(stat, ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 {
		return 0, fmt.Errorf("%q is no process state", stat)
	}
	return strconv.Atoi(fields[1])
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// portholeShims picks the shims whose folders are below dir.
func portholeShims(all []process, dir string) []process {
	return pick(all, func(p process) bool {
		return filepath.Base(p.args[0]) == "porthole" && len(p.args) > 1 && p.args[1] == "shim" &&
			slices.ContainsFunc(p.args[2:], func(a string) bool { return strings.HasPrefix(a, dir+"/") })
	})
}

// containerdShims picks the shims that report to a containerd's socket.
func containerdShims(all []process, socket string) []process {
	return pick(all, func(p process) bool {
		return strings.HasPrefix(filepath.Base(p.args[0]), "containerd-shim") && slices.Contains(p.args, socket)
	})
}

func childrenOf(all []process, parent int) []process {
	return pick(all, func(p process) bool { return p.parent == parent })
}

func pick(all []process, want func(process) bool) []process {
	var out []process
	for _, p := range all {
		if want(p) {
			out = append(out, p)
		}
	}
	return out
}

// pss is the proportional set size of processes in MiB: a page that several map counts
// in parts.
func pss(ps ...process) (float64, error) {
	sum := 0
	for _, p := range ps {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		if err != nil {
			return 0, err
		}
		kib, err := parseRollup(text)
		if err != nil {
			return 0, fmt.Errorf("process %d: %w", p.pid, err)
		}
		sum += kib
	}
	return float64(sum) / 1024, nil
}

// parseRollup reads the Pss line of a smaps_rollup file, in KiB.
func parseRollup(text []byte) (int, error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "Pss:")
		if !ok {
			continue
		}
		if f := strings.Fields(rest); len(f) == 2 && f[1] == "kB" {
			return strconv.Atoi(f[0])
		}
		return 0, fmt.Errorf("%q tells no size in kB", lines.Text())
	}
	return 0, fmt.Errorf("no line Pss: %w", fs.ErrNotExist)
}

// idlePods records what pods hold: parent and children of each shim. The row names
// are those of the table; count is how many pods there must be.
func idlePods(t *table, state string, porthole, peer []process, all []process, count int) error {
	if len(porthole) != count || len(peer) != count {
		return fmt.Errorf("%d shims of Porthole and %d of containerd run, want %d each", len(porthole), len(peer), count)
	}
	for _, side := range []struct {
		runtime string
		inner   string
		shims   []process
	}{{portholeName, "QEMU", porthole}, {containerdName, "processes in it", peer}} {
		for _, s := range side.shims {
			shim, err := pss(s)
			if err != nil {
				return err
			}
			inner, err := pss(childrenOf(all, s.pid)...)
			if err != nil {
				return err
			}
			t.add(state+": shim", mebibytes, side.runtime, shim)
			t.add(state+": "+side.inner, mebibytes, side.runtime, inner)
			t.add(state+": in all", mebibytes, side.runtime, shim+inner)
		}
	}
	return nil
}
