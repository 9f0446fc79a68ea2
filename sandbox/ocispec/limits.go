package ocispec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

// Limits implements sandbox.Specs. CPU shares stay on the scale of cgroup v1, as the OCI
// spec has them; the OCI runtime converts.
func (*Generator) Limits(r sandbox.Resources) *specs.LinuxResources {
	out := &specs.LinuxResources{
		CPU:     &specs.LinuxCPU{Cpus: r.CpusetCPUs, Mems: r.CpusetMems},
		Memory:  &specs.LinuxMemory{},
		Unified: r.Unified,
	}
	if r.CPUShares != 0 {
		shares := uint64(r.CPUShares)
		out.CPU.Shares = &shares
	}
	if r.CPUQuota != 0 {
		out.CPU.Quota = &r.CPUQuota
	}
	if r.CPUPeriod != 0 {
		period := uint64(r.CPUPeriod)
		out.CPU.Period = &period
	}
	if r.MemoryLimit != 0 {
		out.Memory.Limit = &r.MemoryLimit
	}
	if r.MemorySwapLimit != 0 {
		out.Memory.Swap = &r.MemorySwapLimit
	}
	if r.PidsLimit != 0 {
		out.Pids = &specs.LinuxPids{Limit: &r.PidsLimit}
	}
	for _, h := range r.HugepageLimits {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.PageSize, Limit: h.Limit})
	}
	return out
}

// devices are the rules of the device cgroup: all in the VM for privileged
// containers, else those without which programs do not work.
func devices(privileged bool) []specs.LinuxDeviceCgroup {
	const all = "rwm"
	if privileged {
		return []specs.LinuxDeviceCgroup{{Allow: true, Access: all}}
	}
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: all},
		{Allow: true, Type: "c", Access: "m"}, // making nodes is harmless where using them is not allowed
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range [][2]int64{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 2}, // tty, ptmx
	} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &d[0], Minor: &d[1], Access: all})
	}
	pts := int64(136)
	return append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &pts, Access: all})
}
