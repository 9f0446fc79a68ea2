package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/internal/procmem"
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
	var sum uint64
	for _, p := range ps {
		n, err := procmem.Held(p.PID)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return float64(sum) / (1 << 20), nil
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
