//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/usage"
)

// maxOpenFiles is how many open files of a container are counted: beyond, the counting
// would take the pod's CPU.
const maxOpenFiles = 10000

// Stats implements the service. It takes no lock that a slow call holds.
func (c *control) Stats(ctx context.Context, r *api.StatsRequest) (*api.StatsResponse, error) {
	c.mu.Lock()
	pods, containers := slices.Collect(maps.Values(c.pods)), slices.Collect(maps.Values(c.containers))
	c.mu.Unlock()
	resp := &api.StatsResponse{}
	for _, p := range pods {
		s, err := c.podStats(p)
		if err != nil {
			return nil, fmt.Errorf("stats of pod %q: %w", p.id, err)
		}
		resp.Pods = append(resp.Pods, s)
	}
	for _, ct := range containers {
		s, err := c.containerStats(ct, r.OpenFiles)
		if err != nil {
			return nil, fmt.Errorf("stats of container %q: %w", ct.id, err)
		}
		resp.Containers = append(resp.Containers, s)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

func (a *Agent) podStats(p *pod) (*api.PodStats, error) {
	out := &api.PodStats{PodId: p.id}
	group, err := a.groupStats(p.cgroup())
	if err != nil {
		return nil, err
	}
	out.Group = group
	if !p.ready.TryRLock() { // it is being made or removed
		return out, nil
	}
	defer p.ready.RUnlock()
	if p.pause == nil {
		return out, nil
	}
	var names []string
	for _, i := range p.interfaces {
		names = append(names, i.Name)
	}
	traffic, err := a.cfg.Namespaces.Traffic(p.pause.PID(), names)
	if err != nil {
		return nil, err
	}
	for _, t := range traffic {
		out.Interfaces = append(out.Interfaces, &api.InterfaceStats{
			Name: t.Name, RxBytes: t.RxBytes, RxPackets: t.RxPackets, RxErrors: t.RxErrors, RxDropped: t.RxDropped,
			TxBytes: t.TxBytes, TxPackets: t.TxPackets, TxErrors: t.TxErrors, TxDropped: t.TxDropped,
		})
	}
	return out, nil
}

func (a *Agent) containerStats(c *container, openFiles bool) (*api.ContainerStats, error) {
	out := &api.ContainerStats{ContainerId: c.id}
	var err error
	if out.Group, err = a.groupStats(c.cgroup()); err != nil {
		return nil, err
	}
	w, err := a.cfg.Disks.Usage(c.upper, c.project)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if w != nil {
		out.Writable = &api.WritableStats{
			UnixNanos: w.At.UnixNano(), Bytes: w.Bytes, Inodes: w.Inodes,
			CapacityBytes: w.CapacityBytes, CapacityInodes: w.CapacityInodes, FreeInodes: w.FreeInodes,
		}
	}
	if openFiles {
		if o, ok := a.cfg.Cgroups.OpenFiles(c.cgroup(), maxOpenFiles); ok {
			out.OpenFiles = &api.OpenFiles{Files: o.Files, Sockets: o.Sockets, Limit: a.fileLimit(c)}
		}
	}
	return out, nil
}

// fileLimit is the soft limit on open files of the container's own process; nil: none,
// or it has ended.
func (a *Agent) fileLimit(c *container) *uint64 {
	c.execsMu.Lock()
	p := c.execs[""]
	c.execsMu.Unlock()
	if p == nil || p.exited() {
		return nil
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(p.proc.PID(), unix.RLIMIT_NOFILE, nil, &limit); err != nil || limit.Cur == unix.RLIM_INFINITY {
		return nil
	}
	return &limit.Cur
}

// groupStats is nil for a group that is not there.
func (a *Agent) groupStats(group string) (*api.GroupStats, error) {
	g, err := a.cfg.Cgroups.Stats(group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := &api.GroupStats{UnixNanos: g.At.UnixNano()}
	if c := g.CPU; c != nil {
		out.Cpu = &api.CPUStats{
			UsageNanos: uint64(c.Usage), UserNanos: uint64(c.User), SystemNanos: uint64(c.System),
			Periods: c.Periods, ThrottledPeriods: c.ThrottledPeriods, ThrottledNanos: uint64(c.Throttled),
			Pressure: pressureStats(c.Pressure),
		}
	}
	if m := g.Memory; m != nil {
		out.Memory = &api.MemoryStats{
			Usage: m.Usage, Limit: m.Limit, Peak: m.Peak,
			Anon: m.Anon, File: m.File, FileMapped: m.FileMapped, InactiveFile: m.InactiveFile, Kernel: m.Kernel,
			PageFaults: m.PageFaults, MajorPageFaults: m.MajorPageFaults, LimitHits: m.LimitHits, OomKills: m.OOMKills,
			Swap: m.Swap, SwapLimit: m.SwapLimit, Pressure: pressureStats(m.Pressure),
		}
	}
	if i := g.IO; i != nil {
		out.Io = &api.IOStats{Pressure: pressureStats(i.Pressure)}
		for _, d := range i.Devices {
			out.Io.Devices = append(out.Io.Devices, &api.DeviceIO{
				Major: d.Major, Minor: d.Minor, Name: d.Name,
				ReadBytes: d.ReadBytes, WriteBytes: d.WriteBytes, Reads: d.Reads, Writes: d.Writes,
			})
		}
	}
	if t := g.Tasks; t != nil {
		out.Tasks = &api.TaskStats{Processes: t.Processes, Threads: t.Threads, ThreadsLimit: t.ThreadsLimit}
	}
	for _, h := range g.HugePages {
		out.HugePages = append(out.HugePages, &api.HugePages{Size: h.Size, Usage: h.Usage})
	}
	return out, nil
}

func pressureStats(p *usage.Pressure) *api.Pressure {
	if p == nil {
		return nil
	}
	times := func(t usage.PressureTimes) *api.PressureTimes {
		return &api.PressureTimes{Avg10: t.Avg10, Avg60: t.Avg60, Avg300: t.Avg300, TotalNanos: uint64(t.Total)}
	}
	return &api.Pressure{Some: times(p.Some), Full: times(p.Full)}
}
