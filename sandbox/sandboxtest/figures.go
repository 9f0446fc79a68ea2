package sandboxtest

import (
	"time"

	"github.com/porthole-run/porthole/internal/usage"
)

// stalls and devices are of all groups.
var (
	stalls = &usage.Pressure{
		Some: usage.PressureTimes{Avg10: 1.5, Avg60: 0.75, Avg300: 0.25, Total: 3 * time.Second},
		Full: usage.PressureTimes{Avg10: 0.5, Avg60: 0.25, Avg300: 0.125, Total: time.Second},
	}
	devices = []usage.Device{{Major: 254, Minor: 16, Name: "vdb", ReadBytes: 1 << 20, WriteBytes: 1 << 21, Reads: 50, Writes: 70}}
)

// figures are a group's, in one piece: a node of many VMs makes them for each question.
type figures struct {
	group                      usage.Group
	cpu                        usage.CPU
	memory                     usage.Memory
	io                         usage.IO
	tasks                      usage.Tasks
	limit, peak, swap, threads uint64
}

// group are all figures of a group of n processes, each of which has used so much CPU time.
func group(n int, used time.Duration) *usage.Group {
	used *= time.Duration(n)
	f := &figures{limit: 64 << 20, peak: uint64(n) << 20, threads: 100}
	f.cpu = usage.CPU{Usage: used, User: used * 3 / 4, System: used / 4, Periods: 20, Pressure: stalls}
	f.memory = usage.Memory{
		Usage: uint64(n) << 19, Limit: &f.limit, Peak: &f.peak, Anon: uint64(n) << 18, File: uint64(n) << 17,
		Kernel: uint64(n) << 16, PageFaults: 700, MajorPageFaults: 15, Swap: &f.swap, SwapLimit: &f.swap, Pressure: stalls,
	}
	f.io = usage.IO{Devices: devices, Pressure: stalls}
	f.tasks = usage.Tasks{Processes: uint64(n), Threads: uint64(n), ThreadsLimit: &f.threads}
	f.group = usage.Group{At: time.Now(), CPU: &f.cpu, Memory: &f.memory, IO: &f.io, Tasks: &f.tasks}
	return &f.group
}
