package sandbox

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/undo"
)

// makeCgroup makes the host's control group of the pod and says in vm that it is to be in
// it. A VM that could outgrow the parent is not put there: the host would kill it for the
// memory that its guest was promised. Nor is one that pods share: it is none of theirs.
func (m *Manager) makeCgroup(ctx context.Context, p *pod, u *undo.Stack, h Handler, vm *ShimConfig) error {
	parent := p.config.CgroupParent
	if parent == "" || m.cfg.Cgroups == nil {
		return nil
	}
	if p.seat != nil {
		p.setUngrouped("the VM is shared with other pods")
		return nil
	}
	if p.spare != nil {
		vm.MemoryMiB = max(vm.MemoryMiB, p.spare.Info().MemoryMiB) // it may be larger than was asked for
	}
	// Before the call: of one that fails something may be left, too.
	u.Push("remove control group", func(ctx context.Context) error { return m.removeCgroup(ctx, p.id, parent) })
	group, err := m.cfg.Cgroups.Make(ctx, p.id, parent)
	if err != nil {
		return err
	}
	why := vm.fitInto(group, h)
	if why == "" {
		vm.Cgroups = group.Dirs
		if p.spare == nil || isClosed(p.spare.Done()) {
			return nil
		}
		// It runs already, elsewhere.
		has := p.spare.Info()
		return m.cfg.Cgroups.Enter(ctx, group, []int{has.PID, has.VMPID})
	}
	why = fmt.Sprintf("cgroup_parent %s: %s", parent, why)
	if m.cfg.CgroupsMust {
		return fmt.Errorf("%s: %w", why, errdefs.ErrInvalidArgument)
	}
	m.log.Warn("VM is not in its pod's control group", logkey.PodID, p.id, logkey.Reason, why)
	p.setUngrouped(why)
	return m.removeCgroup(ctx, p.id, parent)
}

func (p *pod) setUngrouped(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ungrouped = why
}

// fitInto bounds a VM to what the group's parent has, or says why that cannot be.
func (c *ShimConfig) fitInto(g Cgroup, h Handler) (why string) {
	if g.MemoryLimit < 0 {
		return ""
	}
	most := int(g.MemoryLimit/mib) - h.HostMiB
	if c.MemoryMiB > most {
		return fmt.Sprintf("its memory limit is %d MiB, and the VM may take %d: %d of its own and %d of the host's; the RuntimeClass's overhead is to have the difference",
			g.MemoryLimit/mib, c.MemoryMiB+h.HostMiB, c.MemoryMiB, h.HostMiB)
	}
	if c.MaxMemoryMiB == 0 || c.MaxMemoryMiB > most {
		c.MaxMemoryMiB = most
	}
	return ""
}

// removeCgroup removes a pod's control group, which nobody may be in any more.
func (m *Manager) removeCgroup(ctx context.Context, podID, parent string) error {
	if m.cfg.Cgroups == nil {
		return nil
	}
	return m.cfg.Cgroups.Remove(ctx, podID, parent)
}
