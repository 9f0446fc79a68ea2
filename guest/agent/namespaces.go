//go:build linux

package agent

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/account"
)

// podNamespaces checks what a request says of a pod's namespaces.
func podNamespaces(n *api.PodNamespaces) (podns.Options, error) {
	o := podns.Options{VMNetwork: n.GetVmNetwork(), VMIPC: n.GetVmIpc(), VMPID: n.GetVmPid()}
	u := n.GetUsers()
	if u == nil {
		return o, nil
	}
	if o.VMNetwork || o.VMIPC || o.VMPID {
		return o, invalid("a pod with a user namespace cannot have namespaces of its VM, which that does not own")
	}
	o.Users = &podns.Users{UIDs: mapping(u.Uids), GIDs: mapping(u.Gids)}
	for what, m := range map[string]podns.Mapping{"uids": o.Users.UIDs, "gids": o.Users.GIDs} {
		if err := m.Check(); err != nil {
			return o, invalid("%s of the user namespace: %v", what, err)
		}
	}
	return o, nil
}

func mapping(m *api.IDMapping) podns.Mapping {
	return podns.Mapping{Inside: m.GetContainerId(), Outside: m.GetHostId(), Length: m.GetLength()}
}

// pidNamespace is a process in the PID namespace that a container joins; 0: it gets one
// of its own.
func (a *Agent) pidNamespace(p *pod, r *api.CreateContainerRequest) (pid int, err error) {
	switch r.PidNamespace {
	case api.PIDNamespace_PID_NAMESPACE_CONTAINER:
		return 0, nil
	case api.PIDNamespace_PID_NAMESPACE_POD:
		return p.pause.PID(), nil
	case api.PIDNamespace_PID_NAMESPACE_TARGET:
	default:
		return 0, invalid("pid_namespace %d", r.PidNamespace)
	}
	c, target, err := a.processOf(r.PidTarget, "")
	if err != nil {
		return 0, fmt.Errorf("pid_target: %w", err)
	}
	switch {
	case c.pod != p:
		return 0, invalid("pid_target %q is of another pod", c.id)
	case target.exited():
		return 0, fmt.Errorf("container %q, whose PID namespace is to be joined, has exited: %w", c.id, errdefs.ErrFailedPrecondition)
	}
	return target.proc.PID(), nil
}

// mapLayers shows a container's layers with owners as its pod's user namespace has them.
// The writable layer needs nothing of the kind: what is in it belongs to ids of the VM.
func (a *Agent) mapLayers(c *container, dirs []string) ([]string, error) {
	if c.pod.namespaces.Users == nil {
		return dirs, nil
	}
	var out []string
	for _, dir := range dirs {
		target := a.shortDir(a.cfg.Dir + "/i")
		if err := a.mapDir(c, dir, target); err != nil {
			return nil, err
		}
		out = append(out, target)
	}
	return out, nil
}

func (a *Agent) mapDir(c *container, dir, target string) error {
	if err := a.cfg.Disks.MapIDs(dir, target, podns.Path(c.pod.pause.PID(), "user")); err != nil {
		return err
	}
	c.mappedDirs = append(c.mappedDirs, target)
	return nil
}

// dropMapped unmounts the folders that a container sees with other owners. After an error it
// may be called again.
func (a *Agent) dropMapped(ctx context.Context, c *container) error {
	for len(c.mappedDirs) > 0 {
		last := len(c.mappedDirs) - 1
		if err := a.cfg.Disks.Unmount(ctx, c.mappedDirs[last]); err != nil {
			return err
		}
		c.mappedDirs = c.mappedDirs[:last]
	}
	return nil
}

// checkMapped refuses a user that is not in the pod's user namespace.
func checkMapped(u *podns.Users, id account.Identity) error {
	if u == nil {
		return nil
	}
	if !u.UIDs.Has(id.UID) {
		return invalid("user %d is not in the pod's user namespace, which has %d ids", id.UID, u.UIDs.Length)
	}
	for _, g := range append([]uint32{id.GID}, id.Groups...) {
		if !u.GIDs.Has(g) {
			return invalid("group %d is not in the pod's user namespace, which has %d ids", g, u.GIDs.Length)
		}
	}
	return nil
}

// joinUsers makes a container join the pod's user namespace.
func joinUsers(l *specs.Linux, pausePID int, u *podns.Users) {
	if u == nil {
		return
	}
	ids := func(m podns.Mapping) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: m.Inside, HostID: m.Outside, Size: m.Length}}
	}
	l.UIDMappings, l.GIDMappings = ids(u.UIDs), ids(u.GIDs)
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: podns.Path(pausePID, "user")})
}
