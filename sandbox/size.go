package sandbox

import (
	"cmp"
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
	// defaultOverheadMiB is what a guest takes when nobody says otherwise.
	defaultOverheadMiB = 64
)

// Handler is the configuration of VMs that a runtime handler name selects.
type Handler struct {
	VCPUs        int   // at least this many
	MemoryMiB    int   // at least this much
	OverheadMiB  int   // what the guest itself needs on top of the pod's memory limit; 0: 64
	HostMiB      int   // what the VM takes of the host beyond its memory: the hypervisor and the shim
	MaxVCPUs     int   // growth stops here; 0: no bound
	MaxMemoryMiB int   // pods that need more are refused; 0: no bound
	ScratchBytes int64 // size of the pod's writable disk (sparse)
	ShmBytes     uint64
	// Sharing, when set, puts several pods into one VM of VCPUs and MemoryMiB, which does
	// not grow: a pod that does not fit beside the others gets another one.
	Sharing      *Sharing
	VMNamespaces bool // the node's network, PID and IPC namespaces are the VM's; else they are refused
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
	case h.HostMiB < 0:
		return bad("HostMiB", h.HostMiB)
	case h.MaxVCPUs < 0 || h.MaxVCPUs > 0 && h.MaxVCPUs < h.VCPUs:
		return bad("MaxVCPUs", h.MaxVCPUs)
	case h.MaxMemoryMiB < 0 || h.MaxMemoryMiB > 0 && h.MaxMemoryMiB < h.MemoryMiB:
		return bad("MaxMemoryMiB", h.MaxMemoryMiB)
	case h.ScratchBytes < mib:
		return bad("ScratchBytes", h.ScratchBytes)
	}
	if h.Sharing == nil {
		return nil
	}
	if err := h.Sharing.validate(); err != nil {
		return fmt.Errorf("runtime handler %q: %w", name, err)
	}
	if h.room() < 1 {
		return bad("MemoryMiB", h.MemoryMiB)
	}
	return nil
}

func (h Handler) overhead() int { return cmp.Or(h.OverheadMiB, defaultOverheadMiB) }

// size is the VM a pod with resources r gets: the handler's, grown to hold r unless it is
// shared. Of the overhead that was told, the guest gets what the host does not need for the
// VM; its CPU is the host's, as a VM has whole ones.
func (h Handler) size(r, told Resources) (vcpus, memoryMiB int, err error) {
	vcpus, memoryMiB = h.VCPUs, h.MemoryMiB
	if h.Sharing != nil {
		return vcpus, memoryMiB, h.sharedSize(r)
	}
	if r.CPUQuota > 0 {
		period := r.CPUPeriod
		if period == 0 {
			period = defaultCPUPeriod
		}
		vcpus = max(vcpus, int((r.CPUQuota-1)/period)+1)
		if h.MaxVCPUs > 0 {
			vcpus = min(vcpus, h.MaxVCPUs)
		}
		if vcpus > maxVCPUs {
			return 0, 0, fmt.Errorf("resources.cpu_quota: %d µs of each %d µs need a VM of %d CPUs, and a VM has %d at most: %w",
				r.CPUQuota, period, vcpus, maxVCPUs, errdefs.ErrInvalidArgument)
		}
	}
	if r.MemoryLimit > 0 {
		need := r.need() + h.overhead()
		need = (need + memoryStepMiB - 1) / memoryStepMiB * memoryStepMiB
		if told.MemoryLimit > 0 {
			all := int((r.MemoryLimit+told.MemoryLimit)/mib) - h.HostMiB
			need = max(need, all/memoryStepMiB*memoryStepMiB) // not more than the pod may take
		}
		memoryMiB = max(memoryMiB, need)
		if h.MaxMemoryMiB > 0 && memoryMiB > h.MaxMemoryMiB {
			return 0, 0, fmt.Errorf("resources.memory_limit_in_bytes: %d bytes need a VM of %d MiB, and the runtime handler allows %d MiB: %w",
				r.MemoryLimit, memoryMiB, h.MaxMemoryMiB, errdefs.ErrInvalidArgument)
		}
		if memoryMiB > MaxMemoryMiB {
			return 0, 0, fmt.Errorf("resources.memory_limit_in_bytes: %d bytes need a VM of %d MiB, and a VM has %d MiB at most: %w",
				r.MemoryLimit, memoryMiB, MaxMemoryMiB, errdefs.ErrInvalidArgument)
		}
	}
	return vcpus, memoryMiB, nil
}
