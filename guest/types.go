package guest

import "time"

// Info is what the agent told of itself when it was connected to.
type Info struct {
	Protocol       int
	AgentVersion   string
	KernelRelease  string
	BootID         string // empty in a VM that is to be a template
	RuntimeVersion string // of the OCI runtime in the guest
	MemoryBytes    uint64
	Seeded         bool // its random pool was seeded with what the host sent
}

// DiskAddress is where an attached disk appears in the guest.
type DiskAddress struct {
	Controller uint32
	LUN        uint32
}

// Pod is what a pod is made from.
type Pod struct {
	ID         string
	Hostname   string
	Interfaces []Interface
	Scratch    DiskAddress
	// ScratchMounted: it is the disk that Client.MountScratch has mounted.
	ScratchMounted bool
	ResolvConf     string // the whole file
	Hosts          string // the whole file
	Sysctls        map[string]string
	ShmBytes       uint64 // 0: the agent's default
	Limits         []byte // of the pod as a whole, OCI LinuxResources as JSON; empty: the VM's
	Namespaces     PodNamespaces
}

// PodNamespaces says which of a pod's namespaces are the VM's own, and its user namespace.
type PodNamespaces struct {
	VMNetwork, VMPID, VMIPC bool
	Users                   *UserNamespace // nil: none
}

// UserNamespace maps the ids of a pod to the VM's.
type UserNamespace struct {
	UIDs, GIDs IDMapping
}

// IDMapping says that Length ids from ContainerID on are those from HostID on in the VM.
type IDMapping struct {
	ContainerID, HostID, Length uint32
}

// Interface is one NIC of a pod.
type Interface struct {
	Name      string // the name that the pod sees
	BootMAC   string // how the agent finds it
	MAC       string // the MAC to set; empty: keep
	MTU       uint32 // 0: keep
	Addresses []string
	Routes    []Route
}

// Route is one route of a pod.
type Route struct {
	Destination string // CIDR
	Gateway     string // empty: on link
	MTU         uint32
	Metric      uint32
}

// Layer is one read-only layer of a container's root file system.
type Layer struct {
	ID   string // the diff ID: a layer is mounted once for all containers of the VM
	Disk DiskAddress
}

// User says who a process is to run as.
type User struct {
	Spec               string
	HasGID             bool
	GID                uint32
	SupplementalGroups []uint32
	StrictGroups       bool
}

// FoundUser is whom the host found a User to be, by the image's own files.
type FoundUser struct {
	UID    uint32
	GID    uint32
	Groups []uint32 // all, GID first
	Home   string
}

// ResolvedUser is what a User came out as in the guest.
type ResolvedUser struct {
	UID            uint32
	GID            uint32
	AdditionalGIDs []uint32
}

// Stdio names the streams of a process, as OpenStreams returned them.
type Stdio struct {
	Stdin, Stdout, Stderr uint64 // ids; 0: none
	Terminal              bool
	Width, Height         uint16
}

// Container is what a container is made from.
type Container struct {
	PodID    string
	ID       string
	Layers   []Layer // bottom first
	Spec     []byte  // OCI runtime spec, JSON
	User     User
	Found    *FoundUser // whom User is; nil: the agent looks, as one of an older build always does
	Stdio    Stdio
	SharePID bool    // the pod's PID namespace rather than its own
	TargetID string  // id of the container whose PID namespace it joins; empty: none
	Mounts   []Mount // in the order they are made
}

// Mount is one thing of the host that a container sees. One of ShareID, Disk and Image is set.
type Mount struct {
	Path     string // in the container
	ReadOnly bool
	Options  []string // of noexec, nodev, nosuid
	MapIDs   bool     // owners are seen through the pod's user namespace; not for shares
	ShareID  uint64   // of an attached share
	Disk     *Volume
	Image    *ImageVolume
}

// Volume is an attached disk with an ext4 file system.
type Volume struct {
	ID          string // a volume is mounted once for all containers of the VM
	Disk        DiskAddress
	ReadOnly    bool
	FormatBlank bool      // a blank disk gets a file system
	NewRoot     *DiskRoot // of a new file system; nil: root's, 0755
}

// DiskRoot is the owner and the permissions of a new file system's root.
type DiskRoot struct{ Mode, UID, GID uint32 }

// ImageVolume is the content of an image.
type ImageVolume struct {
	Layers  []Layer // bottom first
	SubPath string  // relative; empty: the root
}

// Unused is what no container of the VM uses any more: unmounted, its disks may be detached.
type Unused struct {
	Layers, Volumes []string // ids
}

// Created is what creating a container told.
type Created struct {
	PID  int
	User ResolvedUser
}

// Exit is how a process ended. At is by the guest's clock and may be any time.
type Exit struct {
	Code      int // 0 to 255; 128+n for signal n
	At        time.Time
	OOMKilled bool
}

// Event is an exit or an OOM kill of a process in the guest.
type Event struct {
	Seq         uint64
	ContainerID string
	ExecID      string // empty: the container's own process
	Exit        *Exit  // nil: an OOM kill
}
