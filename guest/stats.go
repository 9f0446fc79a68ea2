package guest

import (
	"context"
	"math"
	"time"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/usage"
)

// Bounds of the figures that a guest tells. No sound guest comes near.
const (
	maxFigure     = 1 << 60 // sums of a few do not overflow 63 bits
	maxStats      = 1024    // pods or containers
	maxInterfaces = 64
	maxDevices    = 256
	maxPageSizes  = 16
	maxFigureName = 32 // bytes of a NIC's, a device's or a page size's name
)

// Stats tells what the guest's pods and containers use, by the guest's clock. With
// openFiles it also counts what processes have open. A guest of an older build has no
// figures: NotImplemented. Figures that cannot be are a DataLoss error.
func (c *Client) Stats(ctx context.Context, openFiles bool) (usage.VM, error) {
	resp, err := call(ctx, c.api.Stats, &api.StatsRequest{OpenFiles: openFiles})
	if err != nil {
		return usage.VM{}, inGuest(err)
	}
	vm, err := checkStats(resp)
	if err != nil {
		return usage.VM{}, err
	}
	return c.rename(vm), nil
}

func checkStats(r *api.StatsResponse) (usage.VM, error) {
	none := usage.VM{}
	if len(r.GetPods()) > maxStats || len(r.GetContainers()) > maxStats {
		return none, bad("figures of %d pods and %d containers", len(r.GetPods()), len(r.GetContainers()))
	}
	var f figures
	out := usage.VM{Pods: map[string]usage.Pod{}, Containers: map[string]usage.Container{}}
	for _, p := range r.GetPods() {
		out.Pods[f.id(p.GetPodId())] = usage.Pod{Group: f.group(p.GetGroup()), Interfaces: f.interfaces(p.GetInterfaces())}
	}
	for _, c := range r.GetContainers() {
		out.Containers[f.id(c.GetContainerId())] = usage.Container{
			Group: f.group(c.GetGroup()), Writable: f.writable(c.GetWritable()), Open: f.openFiles(c.GetOpenFiles()),
		}
	}
	if f.err != nil {
		return none, f.err
	}
	return out, nil
}

// figures checks what it converts and keeps the first error.
type figures struct{ err error }

func (f *figures) fail(format string, args ...any) {
	if f.err == nil {
		f.err = bad(format, args...)
	}
}

func (f *figures) id(id string) string {
	if id == "" || len(id) > maxID {
		f.fail("figures for an id of %d bytes", len(id))
		return ""
	}
	return clean(id, maxID)
}

func (f *figures) name(s string) string {
	if len(s) > maxFigureName {
		f.fail("a name of %d bytes among figures", len(s))
		return ""
	}
	return clean(s, maxFigureName)
}

func (f *figures) number(n uint64) uint64 {
	if n > maxFigure {
		f.fail("the figure %d", n)
		return 0
	}
	return n
}

func (f *figures) optional(n *uint64) *uint64 {
	if n == nil {
		return nil
	}
	v := f.number(*n)
	return &v
}

// limit is nil for one that limits nothing.
func (f *figures) limit(n *uint64) *uint64 {
	if n == nil || *n > maxFigure {
		return nil
	}
	return n
}

func (f *figures) duration(nanos uint64) time.Duration { return time.Duration(f.number(nanos)) }

func (f *figures) percent(x float64) float64 {
	if math.IsNaN(x) || x < 0 {
		f.fail("%v percent", x)
		return 0
	}
	return min(x, 100)
}

func (f *figures) pressure(p *api.Pressure) *usage.Pressure {
	if p == nil {
		return nil
	}
	times := func(t *api.PressureTimes) usage.PressureTimes {
		return usage.PressureTimes{
			Avg10: f.percent(t.GetAvg10()), Avg60: f.percent(t.GetAvg60()), Avg300: f.percent(t.GetAvg300()),
			Total: f.duration(t.GetTotalNanos()),
		}
	}
	return &usage.Pressure{Some: times(p.GetSome()), Full: times(p.GetFull())}
}

func (f *figures) group(g *api.GroupStats) *usage.Group {
	if g == nil {
		return nil
	}
	out := &usage.Group{At: time.Unix(0, g.GetUnixNanos())}
	if c := g.GetCpu(); c != nil {
		out.CPU = &usage.CPU{
			Usage: f.duration(c.GetUsageNanos()), User: f.duration(c.GetUserNanos()), System: f.duration(c.GetSystemNanos()),
			Periods: f.number(c.GetPeriods()), ThrottledPeriods: f.number(c.GetThrottledPeriods()),
			Throttled: f.duration(c.GetThrottledNanos()), Pressure: f.pressure(c.GetPressure()),
		}
	}
	if m := g.GetMemory(); m != nil {
		out.Memory = &usage.Memory{
			Usage: f.number(m.GetUsage()), Limit: f.limit(m.Limit), Peak: f.optional(m.Peak),
			Anon: f.number(m.GetAnon()), File: f.number(m.GetFile()), FileMapped: f.number(m.GetFileMapped()),
			InactiveFile: f.number(m.GetInactiveFile()), Kernel: f.number(m.GetKernel()),
			PageFaults: f.number(m.GetPageFaults()), MajorPageFaults: f.number(m.GetMajorPageFaults()),
			LimitHits: f.number(m.GetLimitHits()), OOMKills: f.number(m.GetOomKills()),
			Swap: f.optional(m.Swap), SwapLimit: f.limit(m.SwapLimit), Pressure: f.pressure(m.GetPressure()),
		}
	}
	if io := g.GetIo(); io != nil {
		out.IO = &usage.IO{Devices: f.devices(io.GetDevices()), Pressure: f.pressure(io.GetPressure())}
	}
	if t := g.GetTasks(); t != nil {
		out.Tasks = &usage.Tasks{
			Processes: f.number(t.GetProcesses()), Threads: f.number(t.GetThreads()), ThreadsLimit: f.limit(t.ThreadsLimit),
		}
	}
	if n := len(g.GetHugePages()); n > maxPageSizes {
		f.fail("%d sizes of huge pages", n)
		return nil
	}
	for _, h := range g.GetHugePages() {
		out.HugePages = append(out.HugePages, usage.HugePages{Size: f.name(h.GetSize()), Usage: f.number(h.GetUsage())})
	}
	return out
}

func (f *figures) devices(devices []*api.DeviceIO) []usage.Device {
	if len(devices) > maxDevices {
		f.fail("figures of %d devices", len(devices))
		return nil
	}
	var out []usage.Device
	for _, d := range devices {
		out = append(out, usage.Device{
			Major: d.GetMajor(), Minor: d.GetMinor(), Name: f.name(d.GetName()),
			ReadBytes: f.number(d.GetReadBytes()), WriteBytes: f.number(d.GetWriteBytes()),
			Reads: f.number(d.GetReads()), Writes: f.number(d.GetWrites()),
		})
	}
	return out
}

func (f *figures) writable(w *api.WritableStats) *usage.Writable {
	if w == nil {
		return nil
	}
	return &usage.Writable{
		At: time.Unix(0, w.GetUnixNanos()), Bytes: f.number(w.GetBytes()), Inodes: f.number(w.GetInodes()),
		CapacityBytes: f.number(w.GetCapacityBytes()), CapacityInodes: f.number(w.GetCapacityInodes()), FreeInodes: f.number(w.GetFreeInodes()),
	}
}

func (f *figures) openFiles(o *api.OpenFiles) *usage.OpenFiles {
	if o == nil {
		return nil
	}
	return &usage.OpenFiles{Files: f.number(o.GetFiles()), Sockets: f.number(o.GetSockets()), Limit: f.limit(o.Limit)}
}

func (f *figures) interfaces(interfaces []*api.InterfaceStats) []usage.Interface {
	if len(interfaces) > maxInterfaces {
		f.fail("figures of %d interfaces", len(interfaces))
		return nil
	}
	var out []usage.Interface
	for _, i := range interfaces {
		out = append(out, usage.Interface{
			Name:    f.name(i.GetName()),
			RxBytes: f.number(i.GetRxBytes()), RxPackets: f.number(i.GetRxPackets()),
			RxErrors: f.number(i.GetRxErrors()), RxDropped: f.number(i.GetRxDropped()),
			TxBytes: f.number(i.GetTxBytes()), TxPackets: f.number(i.GetTxPackets()),
			TxErrors: f.number(i.GetTxErrors()), TxDropped: f.number(i.GetTxDropped()),
		})
	}
	return out
}
