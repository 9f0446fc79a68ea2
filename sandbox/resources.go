package sandbox

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	// minMemoryLimit is what crun needs to start a container: below it the kernel kills
	// crun, which tells nobody why.
	minMemoryLimit = 512 << 10
	// maxMemoryLimit is more than any host has, so that sums with it do not overflow.
	maxMemoryLimit = 16 << 40
	maxCPUQuota    = 1 << 40
	maxCPUShares   = 262144 // the kernel's
	maxUnifiedText = 4096
	maxCPU         = 8191 // the kernel's
)

// controllers are the cgroup controllers of the guest's kernel.
var controllers = []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}

var unifiedPattern = regexp.MustCompile(`^([a-z]+)(\.[A-Za-z0-9_]+)+$`)

// Validate checks limits; field is what the errors call r, its fields are named as in
// the CRI. Errors are InvalidArgument and name the field at fault.
func (r Resources) Validate(field string) error {
	bad := func(name, format string, args ...any) error {
		return fmt.Errorf("%s.%s: %s: %w", field, name, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
	}
	switch {
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1_000 || r.CPUPeriod > 1_000_000):
		return bad("cpu_period", "%d is not 0 or between 1000 and 1000000 µs", r.CPUPeriod)
	case r.CPUQuota < -1 || r.CPUQuota > 0 && r.CPUQuota < 1_000 || r.CPUQuota > maxCPUQuota:
		return bad("cpu_quota", "%d is not -1, 0 or between 1000 and %d µs", r.CPUQuota, int64(maxCPUQuota))
	case r.CPUShares < 0 || r.CPUShares > maxCPUShares:
		return bad("cpu_shares", "%d is not between 0 and %d", r.CPUShares, maxCPUShares)
	case r.MemoryLimit < 0 || r.MemoryLimit > maxMemoryLimit:
		return bad("memory_limit_in_bytes", "%d is not between 0 and %d", r.MemoryLimit, int64(maxMemoryLimit))
	case r.MemoryLimit > 0 && r.MemoryLimit < minMemoryLimit:
		return bad("memory_limit_in_bytes", "%d is below %d, the least in which a container starts", r.MemoryLimit, minMemoryLimit)
	case r.MemorySwapLimit < -1:
		return bad("memory_swap_limit_in_bytes", "%d is not -1 or more", r.MemorySwapLimit)
	case r.MemorySwapLimit > 0 && r.MemorySwapLimit < r.MemoryLimit:
		return bad("memory_swap_limit_in_bytes", "%d is below the memory limit, which it includes", r.MemorySwapLimit)
	case r.OOMScoreAdj < -1000 || r.OOMScoreAdj > 1000:
		return bad("oom_score_adj", "%d is not between -1000 and 1000", r.OOMScoreAdj)
	case r.PidsLimit < -1:
		return bad("pids_limit", "%d is not -1 or more", r.PidsLimit)
	}
	if _, err := lastOf(r.CpusetCPUs); err != nil {
		return bad("cpuset_cpus", "%v", err)
	}
	switch last, err := lastOf(r.CpusetMems); {
	case err != nil:
		return bad("cpuset_mems", "%v", err)
	case last > 0:
		return bad("cpuset_mems", "%q names memory nodes that a VM does not have: it has node 0", r.CpusetMems)
	}
	for i, h := range r.HugepageLimits {
		if h.PageSize == "" {
			return bad(fmt.Sprintf("hugepage_limits[%d].page_size", i), "is empty")
		}
	}
	for key, value := range r.Unified {
		m := unifiedPattern.FindStringSubmatch(key)
		switch {
		case m == nil || len(key) > maxUnifiedText:
			return bad("unified", "%.100q is not a cgroup file such as memory.high", key)
		case !slices.Contains(controllers, m[1]):
			return bad("unified", "%.100q is of no controller that guests have: %s", key, strings.Join(controllers, ", "))
		case value == "" || len(value) > maxUnifiedText || strings.ContainsAny(value, "\x00\n"):
			return bad("unified", "%.100q: its value is not one line of 1 to %d bytes", key, maxUnifiedText)
		}
	}
	return nil
}

// fits says whether a VM with that many vCPUs can give r; 0: not known, the guest will say.
func (r Resources) fits(field string, vcpus int) error {
	last, err := lastOf(r.CpusetCPUs)
	if err != nil || vcpus == 0 || last < vcpus {
		return err
	}
	return fmt.Errorf("%s.cpuset_cpus: %q names CPUs that the pod's VM does not have: it has %d, from 0 on: %w",
		field, r.CpusetCPUs, vcpus, errdefs.ErrInvalidArgument)
}

// lastOf is the highest number of a kernel list such as "0-2,7"; -1 for an empty one.
func lastOf(list string) (int, error) {
	last := -1
	if list == "" {
		return last, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 16)
		b, errB := strconv.ParseUint(to, 10, 16)
		if errA != nil || errB != nil || a > b || b > maxCPU {
			return 0, fmt.Errorf("%.100q is not a list such as 0-2,7", list)
		}
		last = max(last, int(b))
	}
	return last, nil
}
