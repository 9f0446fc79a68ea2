package sandbox

import (
	"fmt"

	"github.com/containerd/errdefs"
)

const (
	mib = 1 << 20
	// memoryStepMiB: sizes are rounded up to it, so that VMs of few sizes exist and
	// clones and warm VMs fit.
	memoryStepMiB = 64
	// defaultCPUPeriod is the kernel's, in µs.
	defaultCPUPeriod = 100_000
	maxMemoryLimit   = 1 << 50
)

// Handler is the configuration of VMs that a runtime handler name selects.
type Handler struct {
	VCPUs        int   // at least this many
	MemoryMiB    int   // at least this much
	OverheadMiB  int   // what the guest itself needs on top of the pod's memory limit; 0: 64
	MaxVCPUs     int   // growth stops here; 0: no bound
	MaxMemoryMiB int   // pods that need more are refused; 0: no bound
	ScratchBytes int64 // size of the pod's writable disk (sparse)
	ShmBytes     uint64
}

func (h Handler) validate(name string) error {
	bad := func(field string, v any) error {
		return fmt.Errorf("runtime handler %q: %s is %v: %w", name, field, v, errdefs.ErrInvalidArgument)
	}
	switch {
	case h.VCPUs < 1:
		return bad("VCPUs", h.VCPUs)
	case h.MemoryMiB < 1:
		return bad("MemoryMiB", h.MemoryMiB)
	case h.OverheadMiB < 0:
		return bad("OverheadMiB", h.OverheadMiB)
	case h.MaxVCPUs < 0 || h.MaxVCPUs > 0 && h.MaxVCPUs < h.VCPUs:
		return bad("MaxVCPUs", h.MaxVCPUs)
	case h.MaxMemoryMiB < 0 || h.MaxMemoryMiB > 0 && h.MaxMemoryMiB < h.MemoryMiB:
		return bad("MaxMemoryMiB", h.MaxMemoryMiB)
	case h.ScratchBytes < mib:
		return bad("ScratchBytes", h.ScratchBytes)
	}
	return nil
}

// size is the VM a pod with resources r gets: the handler's, grown to hold r.
func (h Handler) size(r Resources) (vcpus, memoryMiB int, err error) {
	vcpus, memoryMiB = h.VCPUs, h.MemoryMiB
	if r.CPUQuota > 0 {
		period := r.CPUPeriod
		if period == 0 {
			period = defaultCPUPeriod
		}
		vcpus = max(vcpus, int((r.CPUQuota-1)/period)+1)
		if h.MaxVCPUs > 0 {
			vcpus = min(vcpus, h.MaxVCPUs)
		}
	}
	if r.MemoryLimit > 0 {
		overhead := h.OverheadMiB
		if overhead == 0 {
			overhead = 64
		}
		need := int((r.MemoryLimit-1)/mib) + 1 + overhead
		need = (need + memoryStepMiB - 1) / memoryStepMiB * memoryStepMiB
		memoryMiB = max(memoryMiB, need)
		if h.MaxMemoryMiB > 0 && memoryMiB > h.MaxMemoryMiB {
			return 0, 0, fmt.Errorf("resources.memoryLimit: %d bytes need a VM of %d MiB, and the runtime handler allows %d MiB: %w",
				r.MemoryLimit, memoryMiB, h.MaxMemoryMiB, errdefs.ErrInvalidArgument)
		}
	}
	return vcpus, memoryMiB, nil
}

// Validate checks limits; field is what the errors call r. Errors are
// InvalidArgument and name the field at fault.
func (r Resources) Validate(field string) error {
	bad := func(name string, v int64, want string) error {
		return fmt.Errorf("%s.%s: %d is not %s: %w", field, name, v, want, errdefs.ErrInvalidArgument)
	}
	switch {
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1_000 || r.CPUPeriod > 1_000_000):
		return bad("cpuPeriod", r.CPUPeriod, "1000–1000000 µs")
	case r.CPUQuota < -1 || r.CPUQuota > 0 && r.CPUQuota < 1_000:
		return bad("cpuQuota", r.CPUQuota, "-1, 0 or at least 1000 µs")
	case r.CPUQuota > 1<<40:
		return bad("cpuQuota", r.CPUQuota, "a sensible quota")
	case r.CPUShares < 0:
		return bad("cpuShares", r.CPUShares, "0 or more")
	case r.MemoryLimit < 0 || r.MemoryLimit > maxMemoryLimit:
		return bad("memoryLimit", r.MemoryLimit, "0 or a sensible number of bytes")
	case r.MemorySwapLimit < -1:
		return bad("memorySwapLimit", r.MemorySwapLimit, "-1 or more")
	case r.MemorySwapLimit > 0 && r.MemorySwapLimit < r.MemoryLimit:
		return bad("memorySwapLimit", r.MemorySwapLimit, "at least the memory limit, which it includes")
	case r.OOMScoreAdj < -1000 || r.OOMScoreAdj > 1000:
		return bad("oomScoreAdj", r.OOMScoreAdj, "-1000–1000")
	case r.PidsLimit < -1:
		return bad("pidsLimit", r.PidsLimit, "-1 or more")
	}
	for i, h := range r.HugepageLimits {
		if h.PageSize == "" {
			return fmt.Errorf("%s.hugepageLimits[%d].pageSize: is empty: %w", field, i, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
