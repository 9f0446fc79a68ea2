package cri

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// asWindows appends a Linux pod's figures once more as a kubelet of Windows reads them,
// which looks at no others: a WindowsPodSandboxStats.
func (f *figures) asWindows(b []byte, u *sandbox.PodUsage) []byte {
	b, at := begin(b, 3, large)
	g := u.Usage.Group
	if g != nil {
		b = appendWindowsMemory(appendWindowsCPU(b, 1, g, u.NanoCores), 2, g)
		b = appendProcesses(appendWindowsNetwork(b, u), g)
	}
	for i := range u.Containers {
		b = f.containerAsWindows(b, 5, &u.Containers[i])
	}
	return end(b, at, large)
}

func (f *figures) containerAsWindows(b []byte, num protowire.Number, u *sandbox.ContainerUsage) []byte {
	b, at := begin(b, num, large)
	fields, err := f.listed.attributesOfContainer(&u.Container)
	b = f.attributes(b, fields, err)
	if g := u.Usage.Group; g != nil {
		b = appendWindowsMemory(appendWindowsCPU(b, 2, g, u.NanoCores), 3, g)
	}
	if w := u.Usage.Writable; w != nil {
		b = f.layer(b, w, false)
	}
	return end(b, at, large)
}

func appendWindowsCPU(b []byte, num protowire.Number, g *usage.Group, nanoCores *uint64) []byte {
	if g.CPU == nil {
		return b
	}
	b, at := begin(b, num, small)
	return end(appendCPUTimes(b, g, nanoCores), at, small)
}

// appendWindowsMemory has what the guest's pages and swap take as the commit, which is
// what the kubelet shows as usage, and by the CRI what is left is counted from it.
func appendWindowsMemory(b []byte, num protowire.Number, g *usage.Group) []byte {
	m := g.Memory
	if m == nil {
		return b
	}
	commit := m.Usage
	if m.Swap != nil {
		commit += *m.Swap
	}
	b, at := begin(b, num, small)
	b = appendNumber(appendTime(b, 1, g.At), 2, m.WorkingSet())
	if m.Limit != nil {
		b = appendNumber(b, 3, *m.Limit-min(*m.Limit, commit))
	}
	b = appendNumber(appendNumber(b, 4, m.PageFaults), 5, commit)
	return end(b, at, small)
}

// appendWindowsNetwork is appendNetwork with what was dropped in the place of what was
// damaged.
func appendWindowsNetwork(b []byte, u *sandbox.PodUsage) []byte {
	return eachInterface(b, u.Usage.Group.At, u.Usage.Interfaces, func(b []byte, n *usage.Interface) []byte {
		b = appendNumber(appendNumber(b, 2, n.RxBytes), 3, n.RxDropped)
		return appendNumber(appendNumber(b, 4, n.TxBytes), 5, n.TxDropped)
	})
}
