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

	"github.com/porthole-run/porthole/test/harness"
)

// containerdShims picks the shims that report to a containerd's socket.
func containerdShims(all []harness.Process, socket string) []harness.Process {
	return harness.Pick(all, func(p harness.Process) bool {
		return strings.HasPrefix(filepath.Base(p.Args[0]), "containerd-shim") && slices.Contains(p.Args, socket)
	})
}

// pss is the proportional set size of processes in MiB: a page that several map counts
// in parts.
func pss(ps ...harness.Process) (float64, error) {
	sum := 0
	for _, p := range ps {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
		if err != nil {
			return 0, err
		}
		kib, err := parseRollup(text)
		if err != nil {
			return 0, fmt.Errorf("process %d: %w", p.PID, err)
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
func idlePods(t *table, state string, porthole, peer []harness.Process, all []harness.Process, count int) error {
	if len(porthole) != count || len(peer) != count {
		return fmt.Errorf("%d shims of Porthole and %d of containerd run, want %d each", len(porthole), len(peer), count)
	}
	for _, side := range []struct {
		runtime string
		inner   string
		shims   []harness.Process
	}{{portholeName, "QEMU", porthole}, {containerdName, "processes in it", peer}} {
		for _, s := range side.shims {
			shim, err := pss(s)
			if err != nil {
				return err
			}
			inner, err := pss(harness.Children(all, s.PID)...)
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
