package cri

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ownUsers is the mapping of pods that ask for a user namespace and leave its mapping to
// the runtime, as those of a Windows kubelet do.
var ownUsers = sandbox.IDMapping{HostID: 1 << 16, Length: 1 << 16}

// userNamespace converts a pod's or container's user namespace; nil: none is asked for.
// The kernel takes several mappings, callers of CRI send one, and other runtimes take one.
func userNamespace(field string, u *runtimeapi.UserNamespace) (*sandbox.UserNamespace, error) {
	if u == nil {
		return nil, nil
	}
	mapped := len(u.GetUids())+len(u.GetGids()) > 0
	switch u.GetMode() {
	case runtimeapi.NamespaceMode_NODE:
		if mapped {
			return nil, invalid(field, "has mappings though its mode is NODE")
		}
		return nil, nil
	case runtimeapi.NamespaceMode_POD:
	default:
		return nil, invalid(field+".mode", "%s: only POD and NODE are modes of it", u.GetMode())
	}
	if !mapped {
		return &sandbox.UserNamespace{UIDs: ownUsers, GIDs: ownUsers}, nil
	}
	return users(field, u.GetUids(), u.GetGids())
}

// users converts a pair of mappings.
func users(field string, uids, gids []*runtimeapi.IDMapping) (*sandbox.UserNamespace, error) {
	if len(uids) != 1 || len(gids) != 1 {
		return nil, invalid(field, "has %d mappings of users and %d of groups: one of each is taken", len(uids), len(gids))
	}
	return &sandbox.UserNamespace{UIDs: idMapping(uids[0]), GIDs: idMapping(gids[0])}, nil
}

func idMapping(m *runtimeapi.IDMapping) sandbox.IDMapping {
	return sandbox.IDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Length: m.GetLength()}
}

// shownUsers is the way back, for status.
func shownUsers(u *sandbox.UserNamespace) *runtimeapi.UserNamespace {
	if u == nil {
		return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}
	}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: shownMapping(u.UIDs), Gids: shownMapping(u.GIDs)}
}

func shownMapping(m sandbox.IDMapping) []*runtimeapi.IDMapping {
	return []*runtimeapi.IDMapping{{ContainerId: m.ContainerID, HostId: m.HostID, Length: m.Length}}
}
