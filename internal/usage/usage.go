// Package usage has the figures that a utility VM tells of its pods and containers: what
// they have used and use now. It holds plain values with their units, and no code that
// reads, checks or shows them.
//
// A nil pointer is a figure that is not there: the kernel does not count it, or there is
// no such limit. A zero is a zero. Values may be shared; nobody changes them.
package usage

import "time"

// VM is what a VM's pods and containers use, by id.
type VM struct {
	Pods       map[string]Pod       `json:"pods"`
	Containers map[string]Container `json:"containers"`
}

// Pod is what the containers of a pod use together.
type Pod struct {
	Group      *Group      `json:"group,omitempty"`
	Interfaces []Interface `json:"interfaces,omitempty"` // without lo; the pod's first NIC first
}

// Container is what a container uses.
type Container struct {
	Group    *Group     `json:"group,omitempty"` // nil: no process of it runs
	Writable *Writable  `json:"writable,omitempty"`
	Open     *OpenFiles `json:"open,omitempty"` // nil also when it was not asked for
}

// Group is what the processes of a cgroup and those below it use.
type Group struct {
	At        time.Time   `json:"at"` // when the figures were read
	CPU       *CPU        `json:"cpu,omitempty"`
	Memory    *Memory     `json:"memory,omitempty"`
	IO        *IO         `json:"io,omitempty"`
	Tasks     *Tasks      `json:"tasks,omitempty"`
	HugePages []HugePages `json:"hugePages,omitempty"`
}

// CPU is the time of all CPUs together since the group was made.
type CPU struct {
	Usage            time.Duration `json:"usage"`
	User             time.Duration `json:"user"`
	System           time.Duration `json:"system"`
	Periods          uint64        `json:"periods"` // in which a limit was enforced
	ThrottledPeriods uint64        `json:"throttledPeriods"`
	Throttled        time.Duration `json:"throttled"`
	Pressure         *Pressure     `json:"pressure,omitempty"`
}

// Memory is in bytes, but for the counts.
type Memory struct {
	Usage           uint64    `json:"usage"`
	Limit           *uint64   `json:"limit,omitempty"`
	Peak            *uint64   `json:"peak,omitempty"`
	Anon            uint64    `json:"anon"`
	File            uint64    `json:"file"` // page cache
	FileMapped      uint64    `json:"fileMapped"`
	InactiveFile    uint64    `json:"inactiveFile"`
	Kernel          uint64    `json:"kernel"`
	PageFaults      uint64    `json:"pageFaults"` // minor and major, a count
	MajorPageFaults uint64    `json:"majorPageFaults"`
	LimitHits       uint64    `json:"limitHits"`
	OOMKills        uint64    `json:"oomKills"`
	Swap            *uint64   `json:"swap,omitempty"`
	SwapLimit       *uint64   `json:"swapLimit,omitempty"`
	Pressure        *Pressure `json:"pressure,omitempty"`
}

// WorkingSet is the memory that cannot be had back without harm: all but the page cache
// that was not used of late.
func (m Memory) WorkingSet() uint64 { return m.Usage - min(m.Usage, m.InactiveFile) }

// Available is what the limit leaves beyond the working set; nil: no limit.
func (m Memory) Available() *uint64 {
	if m.Limit == nil {
		return nil
	}
	left := *m.Limit - min(*m.Limit, m.WorkingSet())
	return &left
}

// IO is what was read from and written to block devices.
type IO struct {
	Devices  []Device  `json:"devices,omitempty"`
	Pressure *Pressure `json:"pressure,omitempty"`
}

// Device is one block device of the guest.
type Device struct {
	Major      uint32 `json:"major"`
	Minor      uint32 `json:"minor"`
	Name       string `json:"name"` // in the guest's /dev; empty: it is gone
	ReadBytes  uint64 `json:"readBytes"`
	WriteBytes uint64 `json:"writeBytes"`
	Reads      uint64 `json:"reads"`
	Writes     uint64 `json:"writes"`
}

// Tasks are processes and their threads.
type Tasks struct {
	Processes    uint64  `json:"processes"`
	Threads      uint64  `json:"threads"` // the processes' first ones too
	ThreadsLimit *uint64 `json:"threadsLimit,omitempty"`
}

// HugePages is the use of huge pages of one size.
type HugePages struct {
	Size  string `json:"size"` // "2MB"
	Usage uint64 `json:"usage"`
}

// Pressure is the kernel's pressure stall information.
type Pressure struct {
	Some PressureTimes `json:"some"` // some task waited
	Full PressureTimes `json:"full"` // all tasks waited
}

// PressureTimes are the time spent waiting and its share of the last seconds, in percent.
type PressureTimes struct {
	Avg10  float64       `json:"avg10"`
	Avg60  float64       `json:"avg60"`
	Avg300 float64       `json:"avg300"`
	Total  time.Duration `json:"total"`
}

// Writable is what a container's writable layer takes of its file system, which the
// containers of a pod share.
type Writable struct {
	At             time.Time `json:"at"`
	Bytes          uint64    `json:"bytes"`
	Inodes         uint64    `json:"inodes"`
	CapacityBytes  uint64    `json:"capacityBytes"`
	CapacityInodes uint64    `json:"capacityInodes"`
	FreeInodes     uint64    `json:"freeInodes"`
}

// OpenFiles is what the processes of a container have open.
type OpenFiles struct {
	Files   uint64  `json:"files"` // sockets too
	Sockets uint64  `json:"sockets"`
	Limit   *uint64 `json:"limit,omitempty"` // soft, of its first process
}

// Interface is one NIC of a pod.
type Interface struct {
	Name      string `json:"name"`
	RxBytes   uint64 `json:"rxBytes"`
	RxPackets uint64 `json:"rxPackets"`
	RxErrors  uint64 `json:"rxErrors"`
	RxDropped uint64 `json:"rxDropped"`
	TxBytes   uint64 `json:"txBytes"`
	TxPackets uint64 `json:"txPackets"`
	TxErrors  uint64 `json:"txErrors"`
	TxDropped uint64 `json:"txDropped"`
}
