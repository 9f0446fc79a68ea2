package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"

	"github.com/containerd/errdefs"
)

// A Driver makes utility VMs. The shim calls it, one VM per process.
type Driver interface {
	// Create makes a VM that does not run yet and holds what it needs to start
	// (control channel, console, the waiting NIC). On error nothing is left.
	Create(ctx context.Context, c VMConfig) (VM, error)
}

// VMConfig is what a VM is made from. Nothing in it may differ between pods of one
// size but ID and Dir, so that VMs can be cloned from a template.
type VMConfig struct {
	ID        string // unique on the host
	Dir       string // an existing folder for the VM's own files, gone with the VM
	VCPUs     int
	MemoryMiB int
	Kernel    string // path of the kernel image
	Initrd    string // path of the initrd
	NICs      int    // how many can be attached at a time; 0: one
}

// Limits of a VM's memory: what a guest needs at least, and what is not a mistake.
const (
	MinMemoryMiB = 64
	MaxMemoryMiB = 1 << 20
)

// maxVCPUs is what both hypervisors take.
const maxVCPUs = 64

// MaxNICs is how many NICs, and so pods, a VM can have. QEMU's microvm has room for 20
// beside the other devices; drivers may have less.
const MaxNICs = 16

var validVMID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// Validate checks all but Kernel and Initrd, which drivers open. InvalidArgument.
func (c VMConfig) Validate() error {
	switch {
	case !validVMID.MatchString(c.ID):
		return fmt.Errorf("id %q: %w", c.ID, errdefs.ErrInvalidArgument)
	case c.VCPUs < 1 || c.VCPUs > maxVCPUs:
		return fmt.Errorf("%d vcpus, not 1 to %d: %w", c.VCPUs, maxVCPUs, errdefs.ErrInvalidArgument)
	case c.MemoryMiB < MinMemoryMiB || c.MemoryMiB > MaxMemoryMiB:
		return fmt.Errorf("%d MiB of memory, not %d to %d: %w", c.MemoryMiB, MinMemoryMiB, MaxMemoryMiB, errdefs.ErrInvalidArgument)
	case c.NICs < 0 || c.NICs > MaxNICs:
		return fmt.Errorf("%d nics, not 1 to %d: %w", c.NICs, MaxNICs, errdefs.ErrInvalidArgument)
	}
	if st, err := os.Stat(c.Dir); err != nil || !st.IsDir() {
		return fmt.Errorf("folder %q of the vm is not there: %w", c.Dir, errdefs.ErrInvalidArgument)
	}
	return nil
}

// A VM is one utility VM. Methods are safe for concurrent use unless they say otherwise.
type VM interface {
	// Start runs the VM. It may be called once. It returns when the hypervisor runs
	// the guest, not when the agent answers: Dial for that.
	Start(ctx context.Context) error
	// Dial opens a stream to a port of the agent. It waits until the guest can take
	// it or ctx ends. When the VM has ended it returns an Unavailable error with the
	// tail of the console. The returned conn also has CloseWrite() error.
	Dial(ctx context.Context, port uint32) (net.Conn, error)
	// AttachDisk hot-adds a disk and returns where the guest sees it.
	AttachDisk(ctx context.Context, d Disk) (DiskAddress, error)
	// DetachDisk hot-removes a disk. The guest must have unmounted it. An address
	// that holds no disk is not an error.
	DetachDisk(ctx context.Context, a DiskAddress) error
	// AttachNIC joins the VM to a network and returns how the guest finds the NIC.
	AttachNIC(ctx context.Context, n NIC) (NICInfo, error)
	// DetachNIC undoes AttachNIC. A name that is not attached is not an error.
	DetachNIC(ctx context.Context, name string) error
	// Stop ends the VM at once, waits for that, and frees all that Create and Start
	// made. It may be called in any state and again.
	Stop(ctx context.Context) error
	// Done is closed when the VM has ended, for whatever reason.
	Done() <-chan struct{}
	// Err says why the VM ended, with the tail of its console: nil before Done is
	// closed and after a Stop that was asked for.
	Err() error
	// Console returns the last bytes that the guest wrote to its console.
	Console() []byte
}

// A Channeler is a VM that can give a stream a device of its own. Others carry all
// streams by Dial.
type Channeler interface {
	// OpenChannel makes a device of a name that was not used before in the VM's life, and
	// returns the host's end of it. Closing that takes the device away.
	OpenChannel(ctx context.Context, name string) (net.Conn, error)
}

// A Cloner is a Driver that can make VMs as copies of one that was booted before, the
// template. A copy holds all that the template's guest has made up: its agent must be told
// of randomness of its own before anything runs in it, which guest.Connect does.
type Cloner interface {
	// CreateTemplate makes a VM like Create does, to be saved. Its memory is in the file,
	// which has c.MemoryMiB MiB, all zero, and stays the caller's.
	CreateTemplate(ctx context.Context, c VMConfig, memory *os.File) (TemplateVM, error)
	// Clone makes a VM like Create does, whose Start lets it go on where the template
	// was saved. c is the template's but for ID and Dir. The memory stays the caller's and
	// open until Start has returned; no clone changes it. On error nothing is left.
	Clone(ctx context.Context, c VMConfig, t Template) (VM, error)
}

// A TemplateVM is a VM that can be saved.
type TemplateVM interface {
	VM
	// Save ends the streams to the agent, waits until the agent knows that, and writes
	// what the VM is besides its memory to state. The VM may have run no pod, and have one
	// disk, which nothing of the guest is on its way to. It does not run afterwards, whether or not that failed: Stop it, before which the memory
	// is not complete.
	Save(ctx context.Context, state io.Writer) error
}

// Template is what clones are made from.
type Template struct {
	Memory *os.File // what CreateTemplate was given
	State  []byte   // what Save wrote
	// Scratch is the disk that the VM had, nil: none. A clone has it too, at the same address,
	// but nothing is read and written there before ScratchTaker's TakeScratch.
	Scratch *os.File
}

// A ScratchTaker is a VM that may be a clone of one with a scratch disk.
type ScratchTaker interface {
	// TakeScratch puts a disk in the place of the template's and gives it the template's
	// content, whatever it held. Only once. NotFound when no disk waits, or not one of that
	// size: the disk is not touched then. After another error none waits any more.
	TakeScratch(ctx context.Context, d Disk) (DiskAddress, error)
}

// Disk is a disk to attach.
type Disk struct {
	Path     string     // on the host
	Format   DiskFormat // how to read the file
	ReadOnly bool
}

// DiskFormat is the format of a disk's file.
type DiskFormat int

const (
	// DiskVHD is a fixed VHD: data, then a 512-byte footer that the guest must not see.
	DiskVHD DiskFormat = iota
	// DiskRaw is the disk's bytes alone.
	DiskRaw
	// DiskVHDX is a VHDX (Hyper-V only).
	DiskVHDX
)

// DiskAddress is where a disk appears in the guest: SCSI controller and LUN.
type DiskAddress struct {
	Controller uint32 `json:"controller"`
	LUN        uint32 `json:"lun"`
}

// NIC is one network attachment to join a VM to. One without Namespace and Interface leads
// nowhere; a driver that cannot do that answers InvalidArgument.
type NIC struct {
	Name      string // the name the pod sees, such as "eth0"; of a VM's NICs each has its own for AttachNIC
	Namespace string // where it is: path of a network namespace (Linux) or id of an HCN namespace
	Interface string // the interface in Namespace to join (Linux), or the endpoint's id (Windows)
}

// NICInfo is how the guest finds an attached NIC.
type NICInfo struct {
	MAC string // the MAC the guest sees before it sets another
}
