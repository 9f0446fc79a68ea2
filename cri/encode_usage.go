package cri

import (
	"context"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

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

// figures encodes what pods and containers use, for one call: as ContainerStats and
// PodSandboxStats of the CRI, without these being made. What is not known is not set.
//
// The numbers of fields are those of api.proto.
type figures struct {
	listed  *listed
	disk    string // where writable layers are, on the host
	windows bool   // pods' figures are told once more as a Windows kubelet reads them
	err     error  // the first
}

func (s *Server) newFigures(ctx context.Context) (*figures, error) {
	disk, err := s.diskMountpoint(ctx)
	return &figures{listed: s.listed, disk: disk, windows: s.opts.Dialect != nil}, err
}

// attributes appends what was encoded before as the attributes, which are field 1 of all.
func (f *figures) attributes(b, fields []byte, err error) []byte {
	if err != nil && f.err == nil {
		f.err = err
	}
	return protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), fields)
}

// container appends a ContainerStats.
func (f *figures) container(b []byte, num protowire.Number, u *sandbox.ContainerUsage) []byte {
	b, at := begin(b, num, large)
	fields, err := f.listed.attributesOfContainer(&u.Container)
	b = f.attributes(b, fields, err)
	g := u.Usage.Group
	if g != nil {
		b = appendMemory(appendCPU(b, 2, g, u.NanoCores), 3, g)
	}
	if w := u.Usage.Writable; w != nil {
		b = f.layer(b, w, true)
	}
	if g != nil {
		b = appendIO(appendSwap(b, 5, g), 6, g)
	}
	return end(b, at, large)
}

// layer appends a container's writable layer, which is field 4 for Linux and Windows.
func (f *figures) layer(b []byte, w *usage.Writable, inodes bool) []byte {
	b, at := begin(b, 4, small)
	b, where := begin(appendTime(b, 1, w.At), 2, small)
	b = appendNumber(end(appendText(b, 1, f.disk), where, small), 3, w.Bytes)
	if inodes {
		b = appendNumber(b, 4, w.Inodes)
	}
	return end(b, at, small)
}

// pod appends a PodSandboxStats.
func (f *figures) pod(b []byte, num protowire.Number, u *sandbox.PodUsage) []byte {
	b, at := begin(b, num, large)
	fields, err := f.listed.attributesOfPod(&u.Pod)
	b = f.linux(f.attributes(b, fields, err), u)
	if f.windows {
		b = f.asWindows(b, u)
	}
	return end(b, at, large)
}

// linux appends a pod's LinuxPodSandboxStats.
func (f *figures) linux(b []byte, u *sandbox.PodUsage) []byte {
	b, at := begin(b, 2, large)
	g := u.Usage.Group
	if g != nil {
		b = appendMemory(appendCPU(b, 1, g, u.NanoCores), 2, g)
		b = appendProcesses(appendNetwork(b, g.At, u.Usage.Interfaces), g)
	}
	for i := range u.Containers {
		b = f.container(b, 5, &u.Containers[i])
	}
	if g != nil {
		b = appendIO(b, 6, g)
	}
	return end(b, at, large)
}

func appendCPU(b []byte, num protowire.Number, g *usage.Group, nanoCores *uint64) []byte {
	if g.CPU == nil {
		return b
	}
	b, at := begin(b, num, small)
	b = appendPressure(appendCPUTimes(b, g, nanoCores), 4, g.CPU.Pressure)
	return end(b, at, small)
}

// appendCPUTimes appends what the messages for Linux and for Windows have in common.
func appendCPUTimes(b []byte, g *usage.Group, nanoCores *uint64) []byte {
	b = appendNumber(appendTime(b, 1, g.At), 2, uint64(g.CPU.Usage))
	return appendOptional(b, 3, nanoCores)
}

func appendMemory(b []byte, num protowire.Number, g *usage.Group) []byte {
	m := g.Memory
	if m == nil {
		return b
	}
	b, at := begin(b, num, small)
	b = appendNumber(appendTime(b, 1, g.At), 2, m.WorkingSet())
	b = appendOptional(b, 3, m.Available())
	b = appendNumber(appendNumber(b, 4, m.Usage), 5, m.Anon)
	// Minor ones: the kernel counts all and the major ones.
	b = appendNumber(b, 6, m.PageFaults-min(m.PageFaults, m.MajorPageFaults))
	b = appendPressure(appendNumber(b, 7, m.MajorPageFaults), 8, m.Pressure)
	return end(b, at, small)
}

func appendIO(b []byte, num protowire.Number, g *usage.Group) []byte {
	if g.IO == nil || g.IO.Pressure == nil {
		return b
	}
	b, at := begin(b, num, small)
	b = appendPressure(appendTime(b, 1, g.At), 2, g.IO.Pressure)
	return end(b, at, small)
}

func appendSwap(b []byte, num protowire.Number, g *usage.Group) []byte {
	if g.Memory == nil || g.Memory.Swap == nil {
		return b
	}
	b, at := begin(b, num, small)
	b = appendTime(b, 1, g.At)
	if limit := g.Memory.SwapLimit; limit != nil {
		b = appendNumber(b, 2, *limit-min(*limit, *g.Memory.Swap))
	}
	b = appendNumber(b, 3, *g.Memory.Swap)
	return end(b, at, small)
}

// appendNetwork appends the pod's first NIC as the default one. Without one there is no
// figure: the kubelet reads the default one without looking whether it is there.
func appendNetwork(b []byte, at time.Time, interfaces []usage.Interface) []byte {
	return eachInterface(b, at, interfaces, func(b []byte, n *usage.Interface) []byte {
		b = appendNumber(appendNumber(b, 2, n.RxBytes), 3, n.RxErrors)
		return appendNumber(appendNumber(b, 4, n.TxBytes), 5, n.TxErrors)
	})
}

// eachInterface appends a pod's figures of NICs, which are field 3 for Linux and Windows.
func eachInterface(b []byte, at time.Time, interfaces []usage.Interface, one func([]byte, *usage.Interface) []byte) []byte {
	if len(interfaces) == 0 {
		return b
	}
	b, from := begin(b, 3, small)
	b = appendTime(b, 1, at)
	for i := range interfaces {
		num := protowire.Number(3)
		if i == 0 {
			num = 2
		}
		var from int
		b, from = begin(b, num, small)
		b = one(appendText(b, 1, clean(interfaces[i].Name, maxName)), &interfaces[i])
		b = end(b, from, small)
	}
	return end(b, from, small)
}

// appendProcesses appends a pod's ProcessUsage, which is field 4 for Linux and Windows.
func appendProcesses(b []byte, g *usage.Group) []byte {
	if g.Tasks == nil {
		return b
	}
	b, at := begin(b, 4, small)
	b = appendNumber(appendTime(b, 1, g.At), 2, g.Tasks.Processes)
	return end(b, at, small)
}

func appendPressure(b []byte, num protowire.Number, p *usage.Pressure) []byte {
	if p == nil {
		return b
	}
	b, at := begin(b, num, small)
	b = appendPressureTimes(appendPressureTimes(b, 1, &p.Full), 2, &p.Some)
	return end(b, at, small)
}

func appendPressureTimes(b []byte, num protowire.Number, t *usage.PressureTimes) []byte {
	b, at := begin(b, num, small)
	b = appendDouble(appendVarint(b, 1, uint64(t.Total)), 2, t.Avg10)
	b = appendDouble(appendDouble(b, 3, t.Avg60), 4, t.Avg300)
	return end(b, at, small)
}
