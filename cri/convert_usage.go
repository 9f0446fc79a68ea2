package cri

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// diskMountpoint names the file system of the writable disks, which does not change.
func (s *Server) diskMountpoint(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.diskMount == "" {
		info, err := s.disks.DiskInfo(ctx)
		if err != nil {
			return "", err
		}
		s.diskMount = info.Mountpoint
	}
	return s.diskMount, nil
}

// containerStats is the answer's form of a container's figures. What is not known is not
// set. disk is where writable layers are, on the host.
func (s *Server) containerStats(u *sandbox.ContainerUsage, disk string) *runtimeapi.ContainerStats {
	out := &runtimeapi.ContainerStats{Attributes: s.listed.attributesOfContainer(&u.Container)}
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

// linuxPodStats is the answer's form of a Linux pod's figures.
func (s *Server) linuxPodStats(u *sandbox.PodUsage, disk string) *runtimeapi.LinuxPodSandboxStats {
	linux := &runtimeapi.LinuxPodSandboxStats{}
	if g := u.Usage.Group; g != nil {
		linux.Cpu, linux.Memory, linux.Io = cpuUsage(g, u.NanoCores), memoryUsage(g), ioUsage(g)
		linux.Network = networkUsage(g.At, u.Usage.Interfaces)
		if t := g.Tasks; t != nil {
			linux.Process = &runtimeapi.ProcessUsage{Timestamp: g.At.UnixNano(), ProcessCount: number(t.Processes)}
		}
	}
	for i := range u.Containers {
		linux.Containers = append(linux.Containers, s.containerStats(&u.Containers[i], disk))
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
