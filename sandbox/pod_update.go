package sandbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
)

// UpdatePod records new resources of a pod, as a whole, and with them what it costs beyond
// its containers; nil: as before. A VM that runs keeps its size, so that what would need a
// larger one is ResourceExhausted and changes nothing. What is less than the VM has, the
// containers' own limits hold them to. FailedPrecondition for a pod that is not ready.
func (m *Manager) UpdatePod(ctx context.Context, id string, resources, overhead *Resources) error {
	p, err := m.findPod(id)
	if err != nil {
		return err
	}
	_, leave, err := p.gate.share(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := p.ready(); err != nil {
		return fmt.Errorf("update pod sandbox: %w", err)
	}
	p.updating.Lock()
	defer p.updating.Unlock()
	p.mu.Lock()
	next, beyond, has := p.resources, p.overhead, p.info
	p.mu.Unlock()
	if resources != nil {
		next = *resources
	}
	if overhead != nil {
		beyond = *overhead
	}
	if err := errors.Join(next.Validate("resources"), beyond.Validate("overhead")); err != nil {
		return err
	}
	if err := p.keepsSeat(next); err != nil {
		return fmt.Errorf("update pod sandbox %s: %w", p.id, err)
	}
	vcpus, memoryMiB := max(has.VCPUs, p.vcpus), max(has.MemoryMiB, p.memoryMiB)
	if err := next.fits("resources", vcpus); err != nil {
		return err
	}
	if h, ok := m.cfg.Handlers[p.config.RuntimeHandler]; ok { // it may have been taken out of the configuration since
		needCPUs, needMiB, err := h.size(next, beyond)
		if err != nil {
			return err
		}
		if vcpus > 0 && needCPUs > vcpus || memoryMiB > 0 && needMiB > memoryMiB {
			return fmt.Errorf("update pod sandbox %s: it would need a VM of %d CPUs and %d MiB, and the one that runs, which cannot grow, has %d and %d: make the pod anew: %w",
				p.id, needCPUs, needMiB, vcpus, memoryMiB, errdefs.ErrResourceExhausted)
		}
	}
	p.mu.Lock()
	old, oldBeyond := p.resources, p.overhead
	p.resources, p.overhead = next, beyond
	p.mu.Unlock()
	if err := p.save(); err != nil {
		p.mu.Lock()
		p.resources, p.overhead = old, oldBeyond
		p.mu.Unlock()
		return fmt.Errorf("update pod sandbox %s: %w", p.id, err)
	}
	return nil
}

// keepsSeat refuses more than a pod was given of a VM that others share: its limits there
// are those of its start.
func (p *pod) keepsSeat(r Resources) error {
	if p.seat == nil {
		return nil
	}
	first := p.config.Resources
	memory := first.MemoryLimit > 0 && (r.MemoryLimit == 0 || r.MemoryLimit > first.MemoryLimit)
	cpu := first.CPUQuota > 0 && (r.CPUQuota <= 0 || r.CPUQuota > first.CPUQuota)
	if memory || cpu {
		return fmt.Errorf("its limits in a VM that pods share stay as at its start, %d bytes of memory and %d µs of CPU: make the pod anew: %w",
			first.MemoryLimit, first.CPUQuota, errdefs.ErrResourceExhausted)
	}
	return nil
}
