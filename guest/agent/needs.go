//go:build linux

package agent

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/guest/agent/crun"
	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/agent/share"
	"github.com/porthole-run/porthole/internal/usage"
)

// Disks mounts disks and what is on them. Package disk implements it.
type Disks interface {
	MountLayer(ctx context.Context, a disk.Address, target string) error
	MountScratch(ctx context.Context, a disk.Address, target string) error
	// MountScratchAhead is MountScratch for a disk whose content is to be copied once it returns:
	// nothing is left to be written, and nothing is until the mount is used.
	MountScratchAhead(ctx context.Context, a disk.Address, target string) error
	// Move mounts what is mounted at source at target instead, which is made.
	Move(source, target string) error
	MountOverlay(target string, layers []string, upper, work string) error
	MountShm(target string, size uint64) error
	// MapIDs shows a folder at target with owners as the user namespace of a path has them.
	MapIDs(source, target, users string) error
	// Unmount may be called for what is not mounted.
	Unmount(ctx context.Context, target string) error
	Eject(a disk.Address) error
	// SetProject makes what is made below dir count for a project, where that can be.
	SetProject(dir string, project uint32) error
	// Usage is what a project takes; nil when that is not counted.
	Usage(dir string, project uint32) (*usage.Writable, error)
	Volumes
}

// Namespaces makes pods' namespaces. Package podns implements it.
type Namespaces interface {
	// Start returns the process that holds them.
	Start(o podns.Options) (*reap.Process, error)
	// Prepare moves the VM's NICs into namespaces whose pod is not known yet.
	Prepare(pid int) error
	SetNames(pid int, hostname string, sysctls map[string]string) error
	// SetNetwork waits for NICs that are not in the pod, and moves them in.
	SetNetwork(ctx context.Context, pid int, interfaces []podns.Interface) error
	ReleaseNetwork(pid int, interfaces []podns.Interface) error
	// RenewNetwork gives the NICs, which are in the pod, what interfaces say instead of all
	// that they have.
	RenewNetwork(ctx context.Context, pid int, interfaces []podns.Interface) error
	Dial(ctx context.Context, pid int, port uint16) (*net.TCPConn, error)
	// Traffic tells of the interfaces but lo, the named ones first.
	Traffic(pid int, names []string) ([]usage.Interface, error)
}

// Cgroups acts on groups of processes. Package cgroup implements it.
type Cgroups interface {
	Create(group string) error
	// Limit bounds what the processes of a group and of those below it use together.
	Limit(group string, limits *specs.LinuxResources) error
	Kill(group string) error
	Signal(group string, sig syscall.Signal) error
	Remove(ctx context.Context, group string) error
	// Freeze returns when no process of the group runs, Thaw when they may.
	Freeze(ctx context.Context, group string) error
	Thaw(group string) error
	OOMKills(group string) uint64
	WatchOOM(group string, report func()) error
	// Stats of a group that is gone is an error that is fs.ErrNotExist.
	Stats(group string) (usage.Group, error)
	// OpenFiles reports false when there are more than limit.
	OpenFiles(group string, limit int) (o usage.OpenFiles, ok bool)
}

// Runtime runs OCI bundles. Package crun implements it.
type Runtime interface {
	Create(ctx context.Context, s crun.Spawn) (*reap.Process, *os.File, error)
	Exec(ctx context.Context, s crun.Spawn) (*reap.Process, *os.File, error)
	Start(ctx context.Context, id, dir, command string) error
	Update(ctx context.Context, id, dir, file string) error
	Delete(ctx context.Context, id string) error
}

// Shares mounts host folders and files that the host serves. Package share implements it.
type Shares interface {
	// Attach owns the stream. What it returns unmounts the share; it may be called again
	// when it failed.
	Attach(ctx context.Context, o share.Options) (detach func(context.Context) error, err error)
	// Path is where the share of an id is mounted.
	Path(id uint64) string
}

// Devices is the guest's hardware. Package device implements it.
type Devices interface {
	// Find makes sure that a device is there. InvalidArgument when the guest has none.
	Find(d specs.LinuxDevice) error
	// PageSizes are those of the huge pages that the kernel has, such as "2MB".
	PageSizes() []string
	// AllowPages lets the kernel make so many bytes of huge pages more, when they are asked for.
	AllowPages(size string, bytes uint64) error
}

// Config is what an Agent is made from. All is needed but Log's output.
type Config struct {
	Dir        string // an empty folder for pods' files, with a short path
	Version    string // the agent's own
	Disks      Disks
	Namespaces Namespaces
	Cgroups    Cgroups
	Runtime    Runtime
	Shares     Shares
	SetClock   func(time.Time) error
	Devices    Devices
	Seed       func([]byte) error     // mixes host's randomness into the kernel's pool, which gives no byte of before after it
	BootID     func() (string, error) // not called in a template: the kernel makes it up when it is first asked
	System     System
}

// System is what Hello tells of the guest.
type System struct {
	KernelRelease  string
	RuntimeVersion string
	MemoryBytes    uint64
}
