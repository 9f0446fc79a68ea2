package sandbox

import (
	"fmt"
	"math"

	"github.com/containerd/errdefs"
)

// Validate checks that the modes are ones that the kinds have, and the user namespace.
// field is what the errors call n; they are InvalidArgument.
func (n Namespaces) Validate(field string) error {
	bad := func(name, format string, args ...any) error {
		return fmt.Errorf("%s.%s: %s: %w", field, name, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
	}
	for _, f := range n.kinds() {
		if f.name != "pid" && (f.mode == NamespaceContainer || f.mode == NamespaceTarget) {
			return bad(f.name, "%s: only pod and node are modes of it", f.mode)
		}
	}
	switch {
	case n.PID == NamespaceTarget && n.TargetID == "":
		return bad("target_id", "is empty though pid is TARGET")
	case n.PID != NamespaceTarget && n.TargetID != "":
		return bad("target_id", "is set but pid is not TARGET")
	case n.Users == nil:
		return nil
	}
	for _, m := range []struct {
		name string
		ids  IDMapping
	}{{"uids", n.Users.UIDs}, {"gids", n.Users.GIDs}} {
		switch at := "userns_options." + m.name; {
		case m.ids.ContainerID != 0:
			return bad(at, "id 0 of the pod is not mapped")
		case m.ids.Length == 0:
			return bad(at, "no ids are mapped")
		case uint64(m.ids.HostID)+uint64(m.ids.Length) > math.MaxUint32:
			return bad(at, "%d ids from %d on are more than there are", m.ids.Length, m.ids.HostID)
		}
	}
	return nil
}

type namespaceKind struct {
	name string
	mode NamespaceMode
}

func (n Namespaces) kinds() []namespaceKind {
	return []namespaceKind{{"network", n.Network}, {"pid", n.PID}, {"ipc", n.IPC}}
}

// checkPodNamespaces refuses what a pod cannot have: the node's namespaces, where they
// are not to be the VM's, and those of a container that is not there yet.
func (h Handler) checkPodNamespaces(n Namespaces) error {
	const field = "namespace_options"
	if err := n.Validate(field); err != nil {
		return err
	}
	for _, f := range n.kinds() {
		switch {
		case f.mode == NamespaceTarget:
			return fmt.Errorf("%s.%s: TARGET: is for containers alone: %w", field, f.name, errdefs.ErrInvalidArgument)
		case f.mode != NamespaceNode:
		case !h.VMNamespaces:
			return fmt.Errorf(`%s.%s: NODE: the host's %s namespace is not in a pod's VM; host_namespaces = "vm" in [vm] or in the handler's part of the configuration gives such pods that of their VM: %w`,
				field, f.name, f.name, errdefs.ErrNotImplemented)
		case n.Users != nil:
			return fmt.Errorf("%s.%s: NODE: a pod with a user namespace cannot have it: %w", field, f.name, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// toVM is what the VM is told.
func (n Namespaces) toVM() PodNamespaces {
	return PodNamespaces{
		VMNetwork: n.Network == NamespaceNode, VMPID: n.PID == NamespaceNode, VMIPC: n.IPC == NamespaceNode, Users: n.Users,
	}
}

// checkNamespaces refuses what a container of the pod cannot have.
func (p *pod) checkNamespaces(n Namespaces) error {
	const field = "namespace_options"
	if err := n.Validate(field); err != nil {
		return err
	}
	of := p.config.Namespaces.kinds()
	for i, f := range n.kinds() {
		if f.mode == NamespaceNode && of[i].mode != NamespaceNode {
			return fmt.Errorf("%s.%s: NODE: the pod sandbox has its own: %w", field, f.name, errdefs.ErrInvalidArgument)
		}
	}
	if pod := p.config.Namespaces.Users; n.Users != nil && (pod == nil || *pod != *n.Users) {
		return fmt.Errorf("%s.userns_options: is not that of the pod sandbox: %w", field, errdefs.ErrInvalidArgument)
	}
	return nil
}

// target is the id of the container whose PID namespace is to be joined; empty: none is.
func (m *Manager) target(p *pod, n Namespaces) (string, error) {
	if n.PID != NamespaceTarget {
		return "", nil
	}
	const field = "namespace_options.target_id"
	c, err := m.findContainer(n.TargetID)
	switch {
	case errdefs.IsNotFound(err):
		return "", fmt.Errorf("%s: %w: %w", field, err, errdefs.ErrFailedPrecondition)
	case err != nil:
		return "", fmt.Errorf("%s: %w", field, err)
	case c.pod != p:
		return "", fmt.Errorf("%s: container %s is of another pod sandbox: %w", field, c.id, errdefs.ErrInvalidArgument)
	}
	if s := c.current(); s != containerRunning {
		return "", fmt.Errorf("%s: container %s is %s: %w", field, c.id, s, errdefs.ErrFailedPrecondition)
	}
	return c.id, nil
}

// checkMappings refuses mounts whose owners are to be seen otherwise than the pod's user
// namespace says: it is the one that there is.
func (p *pod) checkMappings(mounts []Mount) error {
	pod := p.config.Namespaces.Users
	for i, m := range mounts {
		if m.Users != nil && (pod == nil || *pod != *m.Users) {
			return fmt.Errorf("mounts[%d]: its uidMappings and gidMappings are not those of the pod sandbox's user namespace: %w", i, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
