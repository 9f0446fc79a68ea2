package cri

import (
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// What this file makes are the API's own messages of figures, as its comments describe them:
// figures and teller encode the same without them, and are compared with what the library
// makes of these.

// containerStats is the message of a container's figures.
func containerStats(u *sandbox.ContainerUsage, disk string) *runtimeapi.ContainerStats {
	out := &runtimeapi.ContainerStats{Attributes: containerAttributes(&u.Container)}
	if g := u.Usage.Group; g != nil {
		out.Cpu, out.Memory, out.Io, out.Swap = cpuUsage(g, u.NanoCores), memoryUsage(g), ioUsage(g), swapUsage(g)
	}
	if w := u.Usage.Writable; w != nil {
		out.WritableLayer = &runtimeapi.FilesystemUsage{
			Timestamp: w.At.UnixNano(),
			FsId:      &runtimeapi.FilesystemIdentifier{Mountpoint: disk},
			UsedBytes: number(w.Bytes), InodesUsed: number(w.Inodes),
		}
	}
	return out
}

func linuxPodStats(u *sandbox.PodUsage, disk string) *runtimeapi.LinuxPodSandboxStats {
	linux := &runtimeapi.LinuxPodSandboxStats{}
	if g := u.Usage.Group; g != nil {
		linux.Cpu, linux.Memory, linux.Io = cpuUsage(g, u.NanoCores), memoryUsage(g), ioUsage(g)
		linux.Network = networkUsage(g.At, u.Usage.Interfaces)
		if t := g.Tasks; t != nil {
			linux.Process = &runtimeapi.ProcessUsage{Timestamp: g.At.UnixNano(), ProcessCount: number(t.Processes)}
		}
	}
	for i := range u.Containers {
		linux.Containers = append(linux.Containers, containerStats(&u.Containers[i], disk))
	}
	return linux
}

func cpuUsage(g *usage.Group, nanoCores *uint64) *runtimeapi.CpuUsage {
	if g.CPU == nil {
		return nil
	}
	return &runtimeapi.CpuUsage{
		Timestamp: g.At.UnixNano(), UsageCoreNanoSeconds: number(uint64(g.CPU.Usage)),
		UsageNanoCores: optional(nanoCores), Psi: psi(g.CPU.Pressure),
	}
}

func memoryUsage(g *usage.Group) *runtimeapi.MemoryUsage {
	m := g.Memory
	if m == nil {
		return nil
	}
	return &runtimeapi.MemoryUsage{
		Timestamp: g.At.UnixNano(), WorkingSetBytes: number(m.WorkingSet()), AvailableBytes: optional(m.Available()),
		UsageBytes: number(m.Usage), RssBytes: number(m.Anon),
		// Minor ones: the kernel counts all and the major ones.
		PageFaults: number(m.PageFaults - min(m.PageFaults, m.MajorPageFaults)), MajorPageFaults: number(m.MajorPageFaults), Psi: psi(m.Pressure),
	}
}

func ioUsage(g *usage.Group) *runtimeapi.IoUsage {
	if g.IO == nil || g.IO.Pressure == nil {
		return nil
	}
	return &runtimeapi.IoUsage{Timestamp: g.At.UnixNano(), Psi: psi(g.IO.Pressure)}
}

func swapUsage(g *usage.Group) *runtimeapi.SwapUsage {
	if g.Memory == nil || g.Memory.Swap == nil {
		return nil
	}
	out := &runtimeapi.SwapUsage{Timestamp: g.At.UnixNano(), SwapUsageBytes: number(*g.Memory.Swap)}
	if limit := g.Memory.SwapLimit; limit != nil {
		out.SwapAvailableBytes = number(*limit - min(*limit, *g.Memory.Swap))
	}
	return out
}

// networkUsage has the pod's first NIC as the default one. Without one there is no figure:
// the kubelet reads the default one without looking whether it is there.
func networkUsage(at time.Time, interfaces []usage.Interface) *runtimeapi.NetworkUsage {
	if len(interfaces) == 0 {
		return nil
	}
	out := &runtimeapi.NetworkUsage{Timestamp: at.UnixNano()}
	for i, n := range interfaces {
		u := &runtimeapi.NetworkInterfaceUsage{
			Name: clean(n.Name, maxName), RxBytes: number(n.RxBytes), RxErrors: number(n.RxErrors),
			TxBytes: number(n.TxBytes), TxErrors: number(n.TxErrors),
		}
		if i == 0 {
			out.DefaultInterface = u
			continue
		}
		out.Interfaces = append(out.Interfaces, u)
	}
	return out
}

func psi(p *usage.Pressure) *runtimeapi.PsiStats {
	if p == nil {
		return nil
	}
	data := func(t usage.PressureTimes) *runtimeapi.PsiData {
		return &runtimeapi.PsiData{Total: uint64(t.Total), Avg10: t.Avg10, Avg60: t.Avg60, Avg300: t.Avg300}
	}
	return &runtimeapi.PsiStats{Full: data(p.Full), Some: data(p.Some)}
}

func number(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }

func optional(n *uint64) *runtimeapi.UInt64Value {
	if n == nil {
		return nil
	}
	return number(*n)
}

// podStats is the message of a pod's figures.
func podStats(u *sandbox.PodUsage, disk string, windows bool) *runtimeapi.PodSandboxStats {
	out := &runtimeapi.PodSandboxStats{Attributes: podAttributes(&u.Pod), Linux: linuxPodStats(u, disk)}
	if windows {
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
