package sandbox

import (
	"context"
	"io"
	"time"

	"github.com/porthole-run/porthole/internal/usage"
)

// A Launcher starts shims and finds them again.
type Launcher interface {
	// Launch starts a shim with a VM and returns when the agent answers. On error
	// nothing is left: no process, no tap, no file in Dir but those that were there.
	Launch(ctx context.Context, c ShimConfig) (Shim, error)
	// Open connects to the shim that Launch started with the same ID, perhaps from an
	// older daemon. NotFound when it is gone.
	Open(ctx context.Context, id string) (Shim, error)
	// End ends a shim that cannot be asked to end: one that does not answer, or that
	// speaks no version of the protocol that this build does. Its VM goes with it. Gone
	// is not an error.
	End(ctx context.Context, id string) error
	// List names the shims that run, whether or not records know them.
	List(ctx context.Context) ([]string, error)
}

// Spares has VMs that run and belong to no pod.
type Spares interface {
	// Take gives a VM away that is as c asks, but for its ID: id is the VM's, and becomes
	// the pod's. ok is false when there is none. It never waits, and is safe for concurrent
	// use.
	Take(c ShimConfig) (id string, s Shim, ok bool)
}

// ShimConfig says what VM a shim is to make.
type ShimConfig struct {
	ID        string // the VM's id; the pod sandbox's id when a VM holds one pod
	Pods      int    // how many pods it may hold; 0: one, which is as 1
	VCPUs     int
	MemoryMiB int
	// A larger VM will do too, up to MaxVCPUs and MaxMemoryMiB; 0: no bound.
	MaxVCPUs     int
	MaxMemoryMiB int
	// Restore is what the VM is restored from, whose size is VCPUs and MemoryMiB then; nil:
	// it boots, or is cloned.
	Restore *ShimRestore
	// Cgroups are the folders of the host's control groups that the shim joins before it
	// makes the VM; none: it stays in the daemon's.
	Cgroups []string
}

// A Shim is the process that owns one VM, seen from the daemon. All methods are safe
// for concurrent use. After Done is closed they return Unavailable errors.
type Shim interface {
	// SetupPod attaches scratch disk and NICs and makes the pod in the guest. RemovePod
	// undoes it, and so does Shutdown.
	SetupPod(ctx context.Context, p PodSetup) error
	// RemovePod ends what runs of a pod and undoes SetupPod, while the VM goes on with its
	// other pods. Gone is not an error, and is not made any more by a call that was given
	// up and is still on its way. After an error it may be called again to finish.
	RemovePod(ctx context.Context, podID string) error
	// CreateContainer attaches the layers and makes the container, not yet running.
	CreateContainer(ctx context.Context, c ContainerSetup) (ContainerCreated, error)
	// StartContainer lets it run and returns when that was.
	StartContainer(ctx context.Context, containerID string) (time.Time, error)
	// Wait returns when the container's process has exited; it may be called at any
	// time until RemoveContainer, and again.
	Wait(ctx context.Context, containerID string) (Exit, error)
	// Signal sends a signal to the container's process, or to all its processes.
	// FailedPrecondition when it does not run.
	Signal(ctx context.Context, containerID string, signal int, all bool) error
	// RemoveContainer kills the container if it runs, frees what it held, and ends
	// its log. Gone is not an error, as for RemovePod.
	RemoveContainer(ctx context.Context, containerID string) error
	// ReopenLog closes the container's log file and opens its path anew.
	ReopenLog(ctx context.Context, containerID string) error
	// Exec runs a further process and returns when it has exited and its output was
	// delivered. When ctx ends the process is killed and ctx's error returned.
	Exec(ctx context.Context, containerID string, e ExecSpec, s Streams) (exitCode int, err error)
	// Attach joins the streams of the container's process until it exits, the streams
	// end, or ctx ends. It sees output from now on; earlier output is in the log.
	Attach(ctx context.Context, containerID string, s Streams) error
	// PortForward relays conn to a TCP port on the pod's loopback until either end closes.
	PortForward(ctx context.Context, podID string, port uint16, conn io.ReadWriteCloser) error
	// UpdateContainer changes limits; resources is an OCI LinuxResources as JSON.
	UpdateContainer(ctx context.Context, containerID string, resources []byte) error
	// Stats tells what the VM's pods and containers use; with openFiles also how many
	// files they have open. NotImplemented when the VM is of a build that counts nothing.
	// A VM that hangs answers when ctx ends, with its error.
	Stats(ctx context.Context, openFiles bool) (usage.VM, error)
	// State lists what the VM holds, for recovery.
	State(ctx context.Context) (ShimState, error)
	// Shutdown ends the VM and the process, and waits for both.
	Shutdown(ctx context.Context) error
	// Close lets go of the connection; the shim goes on.
	Close() error
	// Done is closed when the shim or its VM has ended, or after Close.
	Done() <-chan struct{}
	// Err says why Done was closed: the VM's end with the tail of its console.
	Err() error
	// Info describes the VM.
	Info() ShimInfo
}

// ShimInfo describes a running VM for verbose status.
type ShimInfo struct {
	PID           int    `json:"pid"`
	VMPID         int    `json:"vmPid"`
	Protocol      int    `json:"protocol"`
	Version       string `json:"version"` // the shim's build
	Accelerator   string `json:"accelerator"`
	KernelRelease string `json:"kernelRelease"`
	AgentVersion  string `json:"agentVersion"`
	// What the VM has; 0 from a shim of a build that did not tell.
	VCPUs     int `json:"vcpus,omitempty"`
	MemoryMiB int `json:"memoryMiB,omitempty"`
	// Template is the id of the template that the VM is a clone of; empty: it booted.
	// TemplateError says why it did though there was a template.
	Template      string `json:"template,omitempty"`
	TemplateError string `json:"templateError,omitempty"`
}

// PodSetup is what a pod needs in its VM.
type PodSetup struct {
	PodID      string            `json:"podId"`
	Hostname   string            `json:"hostname"`
	Scratch    Disk              `json:"scratch"`
	NICs       []PodNIC          `json:"nics"`
	ResolvConf string            `json:"resolvConf"`
	Hosts      string            `json:"hosts"`
	Sysctls    map[string]string `json:"sysctls"`
	ShmBytes   uint64            `json:"shmBytes"`
	// Limits are those of all the pod's containers together, an OCI LinuxResources as JSON;
	// empty: what the VM has.
	Limits     []byte        `json:"limits,omitempty"`
	Namespaces PodNamespaces `json:"namespaces"`
}

// PodNamespaces says which of a pod's namespaces are the VM's own instead, those that the
// agent is in, and what its user namespace is.
type PodNamespaces struct {
	VMNetwork bool           `json:"vmNetwork"`
	VMPID     bool           `json:"vmPid"`
	VMIPC     bool           `json:"vmIpc"`
	Users     *UserNamespace `json:"users,omitempty"` // nil: none
}

// PodNIC is one NIC with what the guest is to set on it.
type PodNIC struct {
	NIC       NIC      `json:"nic"`
	MAC       string   `json:"mac"`
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses"` // CIDRs
	Routes    []Route  `json:"routes"`
}

// Route is one route in a pod.
type Route struct {
	Destination string `json:"destination"` // CIDR
	Gateway     string `json:"gateway"`     // empty: on link
	MTU         int    `json:"mtu"`
	Metric      int    `json:"metric"`
}

// ContainerSetup is what a container is made from.
type ContainerSetup struct {
	PodID       string       `json:"podId"`
	ContainerID string       `json:"containerId"`
	Layers      []Layer      `json:"layers"` // bottom first
	Spec        []byte       `json:"spec"`   // OCI runtime spec, JSON; root, namespace paths, cgroupsPath and user are the agent's to fill
	User        User         `json:"user"`
	Found       *FoundUser   `json:"found,omitempty"` // whom User is, so that the guest need not look; nil: it does
	SharePID    bool         `json:"sharePid"`        // the pod's PID namespace rather than its own
	TargetID    string       `json:"targetId"`        // id of the container whose PID namespace it joins; empty: none
	Stdin       bool         `json:"stdin"`
	StdinOnce   bool         `json:"stdinOnce"`
	Terminal    bool         `json:"terminal"`
	LogPath     string       `json:"logPath"`          // host path of the CRI log; empty: none is kept
	LogDir      string       `json:"logDir,omitempty"` // folder that LogPath is in, and that no link below it leads out of
	Mounts      []MountSetup `json:"mounts,omitempty"` // in the order to make them
}

// Layer is one read-only layer disk.
type Layer struct {
	DiffID string `json:"diffId"`
	Path   string `json:"path"` // host path of the fixed VHD
}

// User says who a container runs as; the guest resolves names against the image's own files.
type User struct {
	Spec               string   `json:"spec"` // "", "name", "uid", "name:group", "uid:gid"
	HasGID             bool     `json:"hasGid"`
	GID                uint32   `json:"gid"`
	SupplementalGroups []uint32 `json:"supplementalGroups"`
	StrictGroups       bool     `json:"strictGroups"`
}

// FoundUser is whom the host found a User to be.
type FoundUser struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"` // all, GID first
	Home   string   `json:"home"`
}

// ResolvedUser is what User came out as.
type ResolvedUser struct {
	UID            uint32   `json:"uid"`
	GID            uint32   `json:"gid"`
	AdditionalGIDs []uint32 `json:"additionalGids"`
}

// ContainerCreated is what creating a container told.
type ContainerCreated struct {
	PID  int          `json:"pid"` // in the guest
	User ResolvedUser `json:"user"`
}

// Exit is how a process ended.
type Exit struct {
	Code      int       `json:"code"` // 128+n for signal n
	At        time.Time `json:"at"`
	OOMKilled bool      `json:"oomKilled"`
}

// ExecSpec is a process to run in a container.
type ExecSpec struct {
	Args     []string `json:"args"`
	Terminal bool     `json:"terminal"`
}

// Streams are the ends of a process's streams on the caller's side; nil: not wanted.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size // window sizes; only read with a terminal
}

// Size is a terminal's size in characters.
type Size struct{ Width, Height uint16 }

// ShimState is what a shim's VM holds.
type ShimState struct {
	Pods       []string         `json:"pods"`
	Containers []ContainerState `json:"containers"`
}

// ContainerState is one container as its shim knows it.
type ContainerState struct {
	ID        string    `json:"id"`
	PodID     string    `json:"podId"`
	Started   bool      `json:"started"`
	StartedAt time.Time `json:"startedAt"`
	Exit      *Exit     `json:"exit"` // nil while it has not exited
}
