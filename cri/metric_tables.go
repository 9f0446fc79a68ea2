package cri

import (
	"strconv"
	"time"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// limitOrZero is how cAdvisor tells of a limit: 0 is none.
func limitOrZero(n int64) (uint64, bool) { return uint64(max(n, 0)), true }

// set is n, where it is set.
func set(n int64) (uint64, bool) { return uint64(max(n, 0)), n > 0 }

// there is a figure that may be not there.
func there(n *uint64) (uint64, bool) {
	if n == nil {
		return 0, false
	}
	return *n, true
}

func cpuPressure(g *usage.Group) *usage.Pressure {
	if g.CPU == nil {
		return nil
	}
	return g.CPU.Pressure
}

func memoryPressure(g *usage.Group) *usage.Pressure {
	if g.Memory == nil {
		return nil
	}
	return g.Memory.Pressure
}

func ioPressure(g *usage.Group) *usage.Pressure {
	if g.IO == nil {
		return nil
	}
	return g.IO.Pressure
}

func stalled(p *usage.Pressure) usage.PressureTimes { return p.Full }
func waiting(p *usage.Pressure) usage.PressureTimes { return p.Some }

// containerMetrics are the metrics of containers.
var containerMetrics = []containerMetric{
	{"container_blkio_device_usage_total", "Blkio device bytes usage.", counter, []string{"device", "major", "minor", "operation"},
		func(u *sandbox.ContainerUsage, tell *teller) {
			eachDevice(u, tell, func(d usage.Device, device string) {
				major, minor := strconv.FormatUint(uint64(d.Major), 10), strconv.FormatUint(uint64(d.Minor), 10)
				tell.value(d.ReadBytes, device, major, minor, "Read")
				tell.value(d.WriteBytes, device, major, minor, "Write")
			})
		}},
	ofCPU("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", func(c *usage.CPU) uint64 { return c.Periods }),
	ofCPU("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", func(c *usage.CPU) uint64 { return c.ThrottledPeriods }),
	ofCPU("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled, in whole seconds.",
		func(c *usage.CPU) uint64 { return wholeSeconds(c.Throttled) }),
	ofCPU("container_cpu_system_seconds_total", "Cumulative system CPU time consumed, in whole seconds.", func(c *usage.CPU) uint64 { return wholeSeconds(c.System) }),
	{"container_cpu_usage_seconds_total", "Cumulative CPU time consumed, in whole seconds.", counter, []string{"cpu"},
		func(u *sandbox.ContainerUsage, tell *teller) {
			if g := u.Usage.Group; g != nil && g.CPU != nil {
				tell.value(wholeSeconds(g.CPU.Usage), "total")
			}
		}},
	ofCPU("container_cpu_user_seconds_total", "Cumulative user CPU time consumed, in whole seconds.", func(c *usage.CPU) uint64 { return wholeSeconds(c.User) }),
	ofOpenFiles("container_file_descriptors", "Number of open file descriptors for the container.", func(o *usage.OpenFiles) uint64 { return o.Files }),
	ofWritable("container_fs_inodes_free", "Number of available inodes.", func(w *usage.Writable) uint64 { return w.FreeInodes }),
	ofWritable("container_fs_inodes_total", "Number of inodes.", func(w *usage.Writable) uint64 { return w.CapacityInodes }),
	ofWritable("container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this file system.", func(w *usage.Writable) uint64 { return w.CapacityBytes }),
	ofDevices("container_fs_reads_bytes_total", "Cumulative count of bytes read.", func(d usage.Device) uint64 { return d.ReadBytes }),
	ofDevices("container_fs_reads_total", "Cumulative count of reads completed.", func(d usage.Device) uint64 { return d.Reads }),
	ofWritable("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this file system.", func(w *usage.Writable) uint64 { return w.Bytes }),
	ofDevices("container_fs_writes_bytes_total", "Cumulative count of bytes written.", func(d usage.Device) uint64 { return d.WriteBytes }),
	ofDevices("container_fs_writes_total", "Cumulative count of writes completed.", func(d usage.Device) uint64 { return d.Writes }),
	{"container_hugetlb_usage_bytes", "Current huge page usage in bytes.", gauge, []string{"pagesize"},
		func(u *sandbox.ContainerUsage, tell *teller) {
			if g := u.Usage.Group; g != nil {
				for _, h := range g.HugePages {
					tell.value(h.Usage, clean(h.Size, maxName))
				}
			}
		}},
	ofContainer("container_last_seen", "Last time a container was seen by the exporter.", func(*sandbox.Container) (uint64, bool) { return set(time.Now().Unix()) }),
	ofMemory("container_memory_cache", "Number of bytes of page cache memory.", gauge, func(m *usage.Memory) (uint64, bool) { return m.File, true }),
	ofMemory("container_memory_failcnt", "Number of memory usage hits limits.", counter, func(m *usage.Memory) (uint64, bool) { return m.LimitHits, true }),
	{"container_memory_failures_total", "Cumulative count of memory allocation failures.", counter, []string{"failure_type", "scope"},
		func(u *sandbox.ContainerUsage, tell *teller) {
			if g := u.Usage.Group; g != nil && g.Memory != nil {
				for _, scope := range []string{"container", "hierarchy"} {
					tell.value(g.Memory.PageFaults, "pgfault", scope)
					tell.value(g.Memory.MajorPageFaults, "pgmajfault", scope)
				}
			}
		}},
	ofMemory("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", gauge, func(m *usage.Memory) (uint64, bool) { return m.Kernel, true }),
	ofMemory("container_memory_mapped_file", "Size of memory mapped files in bytes.", gauge, func(m *usage.Memory) (uint64, bool) { return m.FileMapped, true }),
	ofMemory("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes.", gauge, func(m *usage.Memory) (uint64, bool) { return there(m.Peak) }),
	ofMemory("container_memory_rss", "Size of RSS in bytes.", gauge, func(m *usage.Memory) (uint64, bool) { return m.Anon, true }),
	ofMemory("container_memory_swap", "Container swap usage in bytes.", gauge, func(m *usage.Memory) (uint64, bool) { return there(m.Swap) }),
	ofMemory("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed.", gauge,
		func(m *usage.Memory) (uint64, bool) { return m.Usage, true }),
	ofMemory("container_memory_working_set_bytes", "Current working set in bytes.", gauge, func(m *usage.Memory) (uint64, bool) { return m.WorkingSet(), true }),
	ofMemory("container_oom_events_total", "Count of out of memory events observed for the container.", counter, func(m *usage.Memory) (uint64, bool) { return m.OOMKills, true }),
	ofPressure("container_pressure_cpu_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to CPU congestion, in whole seconds.", cpuPressure, stalled),
	ofPressure("container_pressure_cpu_waiting_seconds_total", "Total time duration tasks in the container have waited due to CPU congestion, in whole seconds.", cpuPressure, waiting),
	ofPressure("container_pressure_io_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to IO congestion, in whole seconds.", ioPressure, stalled),
	ofPressure("container_pressure_io_waiting_seconds_total", "Total time duration tasks in the container have waited due to IO congestion, in whole seconds.", ioPressure, waiting),
	ofPressure("container_pressure_memory_stalled_seconds_total", "Total time duration no tasks in the container could make progress due to memory congestion, in whole seconds.", memoryPressure, stalled),
	ofPressure("container_pressure_memory_waiting_seconds_total", "Total time duration tasks in the container have waited due to memory congestion, in whole seconds.", memoryPressure, waiting),
	ofTasks("container_processes", "Number of processes running inside the container.", func(t *usage.Tasks) uint64 { return t.Processes }),
	ofOpenFiles("container_sockets", "Number of open sockets for the container.", func(o *usage.OpenFiles) uint64 { return o.Sockets }),
	ofContainer("container_spec_cpu_period", "CPU period of the container.", func(c *sandbox.Container) (uint64, bool) { return set(c.Config.Resources.CPUPeriod) }),
	ofContainer("container_spec_cpu_quota", "CPU quota of the container.", func(c *sandbox.Container) (uint64, bool) { return set(c.Config.Resources.CPUQuota) }),
	ofContainer("container_spec_cpu_shares", "CPU share of the container.", func(c *sandbox.Container) (uint64, bool) { return set(c.Config.Resources.CPUShares) }),
	ofContainer("container_spec_memory_limit_bytes", "Memory limit for the container.", func(c *sandbox.Container) (uint64, bool) { return limitOrZero(c.Config.Resources.MemoryLimit) }),
	ofContainer("container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.", func(c *sandbox.Container) (uint64, bool) {
		low, ok := c.Config.Resources.Unified["memory.low"]
		if !ok {
			return 0, true
		}
		n, _ := strconv.ParseInt(low, 10, 64)
		return limitOrZero(n)
	}),
	ofContainer("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", func(c *sandbox.Container) (uint64, bool) { return limitOrZero(c.Config.Resources.MemorySwapLimit) }),
	ofContainer("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", func(c *sandbox.Container) (uint64, bool) { return set(c.StartedAt.Unix()) }),
	ofTasks("container_threads", "Number of threads running inside the container.", func(t *usage.Tasks) uint64 { return t.Threads }),
	ofTasks("container_threads_max", "Maximum number of threads allowed inside the container, infinity if value is zero.", func(t *usage.Tasks) uint64 {
		if t.ThreadsLimit == nil {
			return 0
		}
		return *t.ThreadsLimit
	}),
	{"container_ulimits_soft", "Soft ulimit values for the container root process. Not there where unlimited.", gauge, []string{"ulimit"},
		func(u *sandbox.ContainerUsage, tell *teller) {
			if o := u.Usage.Open; o != nil && o.Limit != nil {
				tell.value(*o.Limit, "max_open_files")
			}
		}},
}

// podMetrics are the metrics of pods: the NICs are not any container's.
var podMetrics = []podMetric{
	ofInterfaces("container_network_receive_bytes_total", "Cumulative count of bytes received.", func(i usage.Interface) uint64 { return i.RxBytes }),
	ofInterfaces("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving.", func(i usage.Interface) uint64 { return i.RxErrors }),
	ofInterfaces("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving.", func(i usage.Interface) uint64 { return i.RxDropped }),
	ofInterfaces("container_network_receive_packets_total", "Cumulative count of packets received.", func(i usage.Interface) uint64 { return i.RxPackets }),
	ofInterfaces("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted.", func(i usage.Interface) uint64 { return i.TxBytes }),
	ofInterfaces("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting.", func(i usage.Interface) uint64 { return i.TxErrors }),
	ofInterfaces("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting.", func(i usage.Interface) uint64 { return i.TxDropped }),
	ofInterfaces("container_network_transmit_packets_total", "Cumulative count of packets transmitted.", func(i usage.Interface) uint64 { return i.TxPackets }),
}
