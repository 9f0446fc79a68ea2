package cri

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// podStats is the answer's form of a pod's figures: a Linux pod's, and where requests of a
// Windows kubelet are turned once more as such a kubelet reads them: it looks at no others.
func (s *Server) podStats(u *sandbox.PodUsage, disk string) *runtimeapi.PodSandboxStats {
	out := &runtimeapi.PodSandboxStats{Attributes: s.listed.attributesOfPod(&u.Pod), Linux: s.linuxPodStats(u, disk)}
	if s.opts.Dialect != nil {
		out.Windows = windowsPodStats(out.GetLinux(), u)
	}
	return out
}

func windowsPodStats(l *runtimeapi.LinuxPodSandboxStats, u *sandbox.PodUsage) *runtimeapi.WindowsPodSandboxStats {
	out := &runtimeapi.WindowsPodSandboxStats{
		Cpu: windowsCPU(l.GetCpu()), Memory: windowsMemory(u.Usage.Group), Network: windowsNetwork(u),
	}
	if p := l.GetProcess(); p != nil {
		out.Process = &runtimeapi.WindowsProcessUsage{Timestamp: p.GetTimestamp(), ProcessCount: p.GetProcessCount()}
	}
	for i, c := range l.GetContainers() {
		w := &runtimeapi.WindowsContainerStats{
			Attributes: c.GetAttributes(), Cpu: windowsCPU(c.GetCpu()), Memory: windowsMemory(u.Containers[i].Usage.Group),
		}
		if f := c.GetWritableLayer(); f != nil {
			w.WritableLayer = &runtimeapi.WindowsFilesystemUsage{Timestamp: f.GetTimestamp(), FsId: f.GetFsId(), UsedBytes: f.GetUsedBytes()}
		}
		out.Containers = append(out.Containers, w)
	}
	return out
}

func windowsCPU(c *runtimeapi.CpuUsage) *runtimeapi.WindowsCpuUsage {
	if c == nil {
		return nil
	}
	return &runtimeapi.WindowsCpuUsage{
		Timestamp: c.GetTimestamp(), UsageCoreNanoSeconds: c.GetUsageCoreNanoSeconds(), UsageNanoCores: c.GetUsageNanoCores(),
	}
}

// windowsMemory has what the guest's pages and swap take as the commit, which is what the
// kubelet shows as usage, and by the CRI what is left is counted from it.
func windowsMemory(g *usage.Group) *runtimeapi.WindowsMemoryUsage {
	if g == nil || g.Memory == nil {
		return nil
	}
	m := g.Memory
	commit := m.Usage
	if m.Swap != nil {
		commit += *m.Swap
	}
	out := &runtimeapi.WindowsMemoryUsage{
		Timestamp: g.At.UnixNano(), WorkingSetBytes: number(m.WorkingSet()),
		PageFaults: number(m.PageFaults), CommitMemoryBytes: number(commit),
	}
	if m.Limit != nil {
		out.AvailableBytes = number(*m.Limit - min(*m.Limit, commit))
	}
	return out
}

// windowsNetwork is networkUsage with what was dropped in the place of what was damaged.
func windowsNetwork(u *sandbox.PodUsage) *runtimeapi.WindowsNetworkUsage {
	if u.Usage.Group == nil || len(u.Usage.Interfaces) == 0 {
		return nil
	}
	out := &runtimeapi.WindowsNetworkUsage{Timestamp: u.Usage.Group.At.UnixNano()}
	for i, n := range u.Usage.Interfaces {
		w := &runtimeapi.WindowsNetworkInterfaceUsage{
			Name: clean(n.Name, maxName), RxBytes: number(n.RxBytes), RxPacketsDropped: number(n.RxDropped),
			TxBytes: number(n.TxBytes), TxPacketsDropped: number(n.TxDropped),
		}
		if i == 0 {
			out.DefaultInterface = w
			continue
		}
		out.Interfaces = append(out.Interfaces, w)
	}
	return out
}
