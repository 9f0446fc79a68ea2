package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
)

// UpdateContainer changes limits of a container that was created or runs: those that r
// sets; the others stay. They hold when it returns, and the container's status shows
// them. The score for the kernel's choice of whom to kill stays what the process began
// with. An error may leave some of the limits changed, and a second call with the same r
// puts that right. Errors are InvalidArgument, with the field's name, for what cannot
// be, or what the guest's kernel refuses; FailedPrecondition for a container that has
// ended.
func (m *Manager) UpdateContainer(ctx context.Context, id string, r Resources) error {
	ctx, c, leave, err := m.enterContainer(ctx, id)
	if err != nil {
		return err
	}
	defer leave()
	if s := c.current(); s != containerCreated && s != containerRunning {
		return fmt.Errorf("update container %s: it is %s: %w", c.id, s, errdefs.ErrFailedPrecondition)
	}
	c.mu.Lock()
	next := c.resources.updated(r)
	c.mu.Unlock()
	if err := next.Validate("linux"); err != nil {
		return err
	}
	if err := next.fits("linux", c.pod.vcpus); err != nil {
		return err
	}
	limits, err := json.Marshal(m.cfg.Specs.Limits(next))
	if err != nil {
		return fmt.Errorf("update container %s: encode limits: %w", c.id, err)
	}
	shim, err := c.pod.ready()
	if err != nil {
		return fmt.Errorf("update container %s: %w", c.id, err)
	}
	stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	if err := shim.UpdateContainer(stepCtx, c.id, limits); err != nil {
		return fmt.Errorf("update container %s: %w", c.id, causeOf(ctx, err))
	}
	c.mu.Lock()
	c.resources = next
	c.mu.Unlock()
	c.pod.ofVM().forget() // what the new limits leave
	if err := c.save(); err != nil {
		return fmt.Errorf("update container %s: its limits are changed, but not its record: %w", c.id, err)
	}
	return nil
}

// updated is r with what by sets. Swap is memory and swap together: when the memory
// changes alone, what there is of swap beyond it stays.
func (r Resources) updated(by Resources) Resources {
	if by.MemoryLimit != 0 && by.MemorySwapLimit == 0 && r.MemorySwapLimit > 0 {
		by.MemorySwapLimit = by.MemoryLimit + r.MemorySwapLimit - r.MemoryLimit
	}
	for _, f := range []struct{ to, from *int64 }{
		{&r.CPUPeriod, &by.CPUPeriod}, {&r.CPUQuota, &by.CPUQuota}, {&r.CPUShares, &by.CPUShares},
		{&r.MemoryLimit, &by.MemoryLimit}, {&r.MemorySwapLimit, &by.MemorySwapLimit}, {&r.PidsLimit, &by.PidsLimit},
	} {
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from *string }{{&r.CpusetCPUs, &by.CpusetCPUs}, {&r.CpusetMems, &by.CpusetMems}} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	r.HugepageLimits = slices.Clone(r.HugepageLimits)
	for _, h := range by.HugepageLimits {
		same := func(o HugepageLimit) bool { return o.PageSize == h.PageSize }
		if i := slices.IndexFunc(r.HugepageLimits, same); i >= 0 {
			r.HugepageLimits[i] = h
		} else {
			r.HugepageLimits = append(r.HugepageLimits, h)
		}
	}
	if len(by.Unified) > 0 {
		r.Unified = maps.Clone(r.Unified)
		if r.Unified == nil {
			r.Unified = make(map[string]string, len(by.Unified))
		}
		maps.Copy(r.Unified, by.Unified)
	}
	return r
}
