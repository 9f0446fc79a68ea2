package sandboxtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// LimitCgroup sets the memory limit of a control group that pods may have as their parent.
func (n *Node) LimitCgroup(parent string, bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limits[parent] = bytes
}

// Make implements sandbox.Cgroups. Parents begin with a slash.
func (g Cgroups) Make(ctx context.Context, podID, parent string) (sandbox.Cgroup, error) {
	if err := g.call(ctx, "MakeCgroup"); err != nil {
		return sandbox.Cgroup{}, err
	}
	defer g.mu.Unlock()
	if !strings.HasPrefix(parent, "/") {
		return sandbox.Cgroup{}, fmt.Errorf("cgroup_parent %q: %w", parent, errdefs.ErrInvalidArgument)
	}
	g.groups[podID] = parent
	limit, ok := g.limits[parent]
	if !ok {
		limit = -1
	}
	return sandbox.Cgroup{Dirs: []string{"/sys/fs/cgroup" + parent + "/" + podID}, MemoryLimit: limit}, nil
}

// Enter implements sandbox.Cgroups: the VM of the group is in it from now on.
func (g Cgroups) Enter(ctx context.Context, c sandbox.Cgroup, _ []int) error {
	if err := g.call(ctx, "EnterCgroup"); err != nil {
		return err
	}
	defer g.mu.Unlock()
	for id, s := range g.shims {
		if strings.HasSuffix(c.Dirs[0], "/"+id) {
			s.config.Cgroups = c.Dirs
		}
	}
	return nil
}

// Remove implements sandbox.Cgroups. A group whose VM runs is busy.
func (g Cgroups) Remove(ctx context.Context, podID, _ string) error {
	if err := g.call(ctx, "RemoveCgroup"); err != nil {
		return err
	}
	defer g.mu.Unlock()
	if s := g.shims[podID]; s != nil && len(s.config.Cgroups) > 0 {
		return fmt.Errorf("control group of %s is in use: %w", podID, errdefs.ErrFailedPrecondition)
	}
	delete(g.groups, podID)
	return nil
}
