//go:build linux

package agent

import (
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// podLimits are the limits of a pod as a whole.
type podLimits struct {
	mu        sync.Mutex            // guards the rest
	resources *specs.LinuxResources // nil: none but the VM's
}

// lift takes those of the pod's limits away of which a new container has none itself: what
// is told of a pod is the sum of its containers' limits, which is no bound for that one. It
// is the kubelet's rule for pods' cgroups too. A limit that was lifted does not come back.
func (a *Agent) lift(p *pod, of *specs.LinuxResources) error {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	limits := p.limits.resources
	if limits == nil {
		return nil
	}
	var lifted specs.LinuxResources
	none := int64(-1)
	memory := limits.Memory != nil && limits.Memory.Limit != nil && (of == nil || of.Memory == nil || of.Memory.Limit == nil || *of.Memory.Limit <= 0)
	if memory {
		lifted.Memory = &specs.LinuxMemory{Limit: &none, Swap: &none}
	}
	quota := limits.CPU != nil && limits.CPU.Quota != nil && (of == nil || of.CPU == nil || of.CPU.Quota == nil || *of.CPU.Quota <= 0)
	if quota {
		lifted.CPU = &specs.LinuxCPU{Quota: &none}
	}
	if !memory && !quota {
		return nil
	}
	if err := a.cfg.Cgroups.Limit(p.cgroup(), &lifted); err != nil {
		return err
	}
	if memory {
		limits.Memory = nil
	}
	if quota {
		limits.CPU.Quota = nil
	}
	return nil
}
