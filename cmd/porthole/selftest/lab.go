package selftest

import (
	"context"
	"time"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/network"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/share"
)

// Lab is what checks are made with. What a host lacks is nil, and its error says why.
type Lab struct {
	Version string // of this build
	Dir     string // a folder of the run's own, on the volume of Porthole's root

	// Host is the Host Compute Service, and Driver makes drivers on it.
	Host    *hcs.Host
	HostErr error
	Driver  func(DriverOptions) (Driver, error)
	Kernel  string // of the guest's bundle
	Initrd  string
	// Layer makes a fixed VHD as images' layers are, at a path that ends in .vhd.
	Layer   func(path string) error
	Scratch sandbox.Scratch
	// Memory is what the processes that hold VMs' memory have of the host's, in bytes.
	Memory func() (uint64, error)

	// HNS is the Host Network Service, Network what attaches pods to the configuration's network, and
	// Endpoints what it says of those of a pod.
	HNS        hcnnet.HNS
	HNSErr     error
	Network    Network
	NetworkErr error // nil Network: there is no CNI configuration, or it is not valid

	// Share opens a folder as pods get it.
	Share    func(dir string) (share.Backend, error)
	ShareErr error

	// Edge is this host's named pipes and folders. nil: it has none of the kind.
	Edge Edge

	// Restart restarts a service of Windows, with all that depends on it. nil: the run may
	// not, as it ends every VM and container of the host.
	Restart func(ctx context.Context, service string) error

	// Times of the checks.
	Times Times
}

// BootTime is how long an agent is waited for where the configuration gives VMs no longer.
const BootTime = 90 * time.Second

// Times are how long checks wait; a zero is its default.
type Times struct {
	Boot   time.Duration // for an agent to answer: BootTime
	Settle time.Duration // for memory to come back: 20 s
	Prompt time.Duration // what counts as at once: 1.5 s
	Refuse time.Duration // for a dial to be refused: 5 s
	Notice time.Duration // for an event: 10 s
}

func (t Times) orDefaults() Times {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&t.Boot, BootTime}, {&t.Settle, 20 * time.Second}, {&t.Prompt, 1500 * time.Millisecond},
		{&t.Refuse, 5 * time.Second}, {&t.Notice, 10 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return t
}

// DriverOptions are what drivers of the checks differ in.
type DriverOptions struct {
	CommandLine string   // further words of the guest's kernel
	Ports       []uint32 // that the host may dial; nil: the agent's
}

// Driver makes VMs, and shows what it makes them from.
type Driver interface {
	sandbox.Driver
	// Document is what Create would send for a VM that nobody owns, and its id.
	Document(c sandbox.VMConfig) (id string, _ hcs.ComputeSystem, _ error)
}

// Network attaches pods to their network.
type Network interface {
	Attach(ctx context.Context, p network.Pod) (network.Result, error)
	Detach(ctx context.Context, podID string) error
}

// resizer is an ability that VMs of some drivers have.
type resizer interface {
	SetMemory(ctx context.Context, mib int) error
	SetCPU(ctx context.Context, milliCPUs, weight int) error
}
