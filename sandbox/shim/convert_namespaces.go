package shim

import (
	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// namespacesToWire leaves out what says nothing: older shims have such pods alone.
func namespacesToWire(n sandbox.PodNamespaces) *api.PodNamespaces {
	if n == (sandbox.PodNamespaces{}) {
		return nil
	}
	out := &api.PodNamespaces{VmNetwork: n.VMNetwork, VmPid: n.VMPID, VmIpc: n.VMIPC}
	if u := n.Users; u != nil {
		out.Users = &api.UserNamespace{Uids: mappingToWire(u.UIDs), Gids: mappingToWire(u.GIDs)}
	}
	return out
}

func mappingToWire(m sandbox.IDMapping) *api.IDMapping {
	return &api.IDMapping{ContainerId: m.ContainerID, HostId: m.HostID, Length: m.Length}
}

func namespacesFromWire(n *api.PodNamespaces) sandbox.PodNamespaces {
	out := sandbox.PodNamespaces{VMNetwork: n.GetVmNetwork(), VMPID: n.GetVmPid(), VMIPC: n.GetVmIpc()}
	if u := n.GetUsers(); u != nil {
		out.Users = &sandbox.UserNamespace{UIDs: mappingFromWire(u.GetUids()), GIDs: mappingFromWire(u.GetGids())}
	}
	return out
}

func mappingFromWire(m *api.IDMapping) sandbox.IDMapping {
	return sandbox.IDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Length: m.GetLength()}
}

// guestNamespaces is how the guest is told.
func guestNamespaces(n sandbox.PodNamespaces) guest.PodNamespaces {
	out := guest.PodNamespaces{VMNetwork: n.VMNetwork, VMPID: n.VMPID, VMIPC: n.VMIPC}
	if u := n.Users; u != nil {
		out.Users = &guest.UserNamespace{UIDs: guest.IDMapping(u.UIDs), GIDs: guest.IDMapping(u.GIDs)}
	}
	return out
}
