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

// group are all figures of a group of n processes, each of which has used so much CPU time.
func group(n int, used time.Duration) *usage.Group {
	limit, peak, swap, threads := uint64(64<<20), uint64(n)<<20, uint64(0), uint64(100)
	used *= time.Duration(n)
	return &usage.Group{
		At:  time.Now(),
		CPU: &usage.CPU{Usage: used, User: used * 3 / 4, System: used / 4, Periods: 20, Pressure: stalls},
		Memory: &usage.Memory{
			Usage: uint64(n) << 19, Limit: &limit, Peak: &peak, Anon: uint64(n) << 18, File: uint64(n) << 17,
			Kernel: uint64(n) << 16, PageFaults: 700, MajorPageFaults: 15, Swap: &swap, SwapLimit: &swap, Pressure: stalls,
		},
		IO:    &usage.IO{Devices: devices, Pressure: stalls},
		Tasks: &usage.Tasks{Processes: uint64(n), Threads: uint64(n), ThreadsLimit: &threads},
	}
}
