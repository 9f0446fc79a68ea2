package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Limit bounds what the processes of a group and of the groups below it use together: CPU,
// memory, swap, CPUs and tasks. What r does not set stays. InvalidArgument when the kernel
// takes a value not.
func (c *FS) Limit(group string, r *specs.LinuxResources) error {
	for _, f := range limitFiles(r) {
		err := write(c.path(group, f.name), f.text)
		switch {
		case errors.Is(err, fs.ErrNotExist) && f.optional:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
			return fmt.Errorf("set %s to %q: %w: %w", f.name, f.text, errdefs.ErrInvalidArgument, err)
		case err != nil:
			return fmt.Errorf("set %s to %q: %w", f.name, f.text, err)
		}
	}
	return nil
}

// write writes to a file that is there: the kernel's file system has another error for
// one that would have to be made.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// limitFile is what a file of a group is to hold.
type limitFile struct {
	name, text string
	optional   bool // a kernel without swap does not have it
}

// Scales of CPU shares: of cgroup v1, which OCI has, and of v2.
const (
	minShares, maxShares = 2, 262144
	maxWeight            = 10000
	defaultPeriod        = 100_000 // µs, the kernel's
)

// limitFiles is r in files of cgroup v2. A limit that is not above 0 means none.
func limitFiles(r *specs.LinuxResources) []limitFile {
	var out []limitFile
	add := func(name, text string, optional bool) { out = append(out, limitFile{name, text, optional}) }
	if m := r.Memory; m != nil {
		if m.Limit != nil {
			add("memory.max", numberOrMax(*m.Limit), false)
		}
		if m.Limit != nil && m.Swap != nil && *m.Swap != 0 {
			// Swap is memory and swap together in OCI, and apart in v2.
			swap := *m.Swap
			if swap > 0 {
				swap = max(swap-*m.Limit, 0)
			}
			text := "max"
			if swap >= 0 {
				text = fmt.Sprint(swap)
			}
			add("memory.swap.max", text, true)
		}
	}
	if cpu := r.CPU; cpu != nil {
		if cpu.Quota != nil {
			period := uint64(defaultPeriod)
			if cpu.Period != nil && *cpu.Period > 0 {
				period = *cpu.Period
			}
			add("cpu.max", fmt.Sprintf("%s %d", numberOrMax(*cpu.Quota), period), false)
		}
		if cpu.Shares != nil && *cpu.Shares > 0 {
			shares := min(max(*cpu.Shares, minShares), maxShares)
			add("cpu.weight", fmt.Sprint(1+(shares-minShares)*(maxWeight-1)/(maxShares-minShares)), false)
		}
		if cpu.Cpus != "" {
			add("cpuset.cpus", cpu.Cpus, false)
		}
	}
	if p := r.Pids; p != nil && p.Limit != nil {
		add("pids.max", numberOrMax(*p.Limit), false)
	}
	return out
}

func numberOrMax(n int64) string {
	if n <= 0 {
		return "max"
	}
	return fmt.Sprint(n)
}
