package sandbox

import (
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
)

// hostPorts are the pod's port mappings as the network is asked for them. A pod with the
// VM's network in the host's place is reached at the host by its own ports, as with a
// network that is the host's; the API server fills them in likewise.
func (c PodConfig) hostPorts() []PortMapping {
	if c.Namespaces.Network != NamespaceNode {
		return c.PortMappings
	}
	out := make([]PortMapping, len(c.PortMappings))
	for i, m := range c.PortMappings {
		if m.HostPort == 0 {
			m.HostPort = m.ContainerPort
		}
		out[i] = m
	}
	return out
}

// checkPorts refuses host ports that another pod has: CNI's port mapping takes both, and
// the first would go on getting all. It needs the lock of the map.
func (m *Manager) checkPorts(c PodConfig) error {
	for i, want := range c.hostPorts() {
		if want.HostPort == 0 {
			continue
		}
		for _, p := range m.pods {
			if s := p.current(); s == podStopped || s == podRemoving {
				continue
			}
			for _, has := range p.config.hostPorts() {
				if want.collides(has) {
					return fmt.Errorf("port_mappings[%d]: host port %d of %s is pod sandbox %s's (%s/%s): %w",
						i, want.HostPort, want.Protocol, p.id, p.config.Namespace, p.config.Name, errdefs.ErrResourceExhausted)
				}
			}
		}
	}
	return nil
}

// collides says whether two mappings take the same port of the host.
func (m PortMapping) collides(o PortMapping) bool {
	return m.HostPort == o.HostPort && m.Protocol == o.Protocol && overlap(m.HostIP, o.HostIP)
}

// overlap says whether two addresses of the host take one in common. None is all of them.
func overlap(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	switch {
	case errX != nil || errY != nil:
		return true
	case x.Is4() != y.Is4():
		return false
	}
	return x == y || x.IsUnspecified() || y.IsUnspecified()
}
