package sandbox

import "time"

// PodConfig is what the caller asked of a pod sandbox. It is kept in the pod's
// record, so that it is what status calls echo.
type PodConfig struct {
	Name         string            `json:"name"`
	Namespace    string            `json:"namespace"`
	UID          string            `json:"uid"`
	Attempt      uint32            `json:"attempt"`
	Hostname     string            `json:"hostname"`
	LogDirectory string            `json:"logDirectory"`
	DNS          DNS               `json:"dns"`
	PortMappings []PortMapping     `json:"portMappings"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	// FSGroup is the group that the pod's volumes are shown as, where the kubelet could not give
	// them to it: on Windows. 0: none, or it could.
	FSGroup        uint32            `json:"fsGroup,omitempty"`
	CgroupParent   string            `json:"cgroupParent"`
	Sysctls        map[string]string `json:"sysctls"`
	Namespaces     Namespaces        `json:"namespaces"`
	AskedNetwork   NamespaceMode     `json:"askedNetwork,omitempty"` // where the caller is to see another than it got
	Privileged     bool              `json:"privileged"`
	Resources      Resources         `json:"resources"` // the sum of the pod's containers, when told
	Overhead       Resources         `json:"overhead"`  // what the pod costs beyond its containers, when told
	RuntimeHandler string            `json:"runtimeHandler"`
	Security       Security          `json:"security"`
}

// DNS is the resolver configuration asked for.
type DNS struct {
	Servers  []string `json:"servers"`
	Searches []string `json:"searches"`
	Options  []string `json:"options"`
}

// NamespaceMode is whose namespace is meant.
type NamespaceMode string

const (
	NamespacePod       NamespaceMode = "pod"
	NamespaceContainer NamespaceMode = "container"
	NamespaceNode      NamespaceMode = "node"
	NamespaceTarget    NamespaceMode = "target"
)

// Namespaces are the namespace modes of a pod or container.
type Namespaces struct {
	Network  NamespaceMode `json:"network"`
	PID      NamespaceMode `json:"pid"`
	IPC      NamespaceMode `json:"ipc"`
	TargetID string        `json:"targetId"`
	// Users is the user namespace; nil: the VM's.
	Users *UserNamespace `json:"users,omitempty"`
}

// UserNamespace is how the ids of a pod are those of its VM, which begin at 0 too.
type UserNamespace struct {
	UIDs IDMapping `json:"uids"`
	GIDs IDMapping `json:"gids"`
}

// IDMapping says that Length ids from ContainerID on are those from HostID on.
type IDMapping struct {
	ContainerID uint32 `json:"containerId"`
	HostID      uint32 `json:"hostId"`
	Length      uint32 `json:"length"`
}

// ContainerConfig is what the caller asked of a container.
type ContainerConfig struct {
	Name        string            `json:"name"`
	Attempt     uint32            `json:"attempt"`
	Image       string            `json:"image"` // id or reference
	UserImage   string            `json:"userImage"`
	Command     []string          `json:"command"`
	Args        []string          `json:"args"`
	WorkingDir  string            `json:"workingDir"`
	Env         []EnvVar          `json:"env"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	LogPath     string            `json:"logPath"` // relative to the pod's LogDirectory
	Stdin       bool              `json:"stdin"`
	StdinOnce   bool              `json:"stdinOnce"`
	TTY         bool              `json:"tty"`
	StopSignal  string            `json:"stopSignal"`
	Resources   Resources         `json:"resources"`
	Security    Security          `json:"security"`
	Namespaces  Namespaces        `json:"namespaces"`
	Mounts      []Mount           `json:"mounts,omitempty"`
	Devices     []Device          `json:"devices,omitempty"`
}

// Device is a device of the guest that a container is given.
type Device struct {
	HostPath      string `json:"hostPath"` // as the caller names it: the guest's device of that name is meant
	ContainerPath string `json:"containerPath"`
	Permissions   string `json:"permissions"` // of r, w and m
}

// EnvVar is one environment variable.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Resources are cgroup limits; zero means not set.
type Resources struct {
	CPUPeriod       int64             `json:"cpuPeriod"`   // µs
	CPUQuota        int64             `json:"cpuQuota"`    // µs a period; -1: no limit
	CPUShares       int64             `json:"cpuShares"`   // cgroup v1 scale
	MemoryLimit     int64             `json:"memoryLimit"` // bytes
	MemorySwapLimit int64             `json:"memorySwapLimit"`
	OOMScoreAdj     int64             `json:"oomScoreAdj"`
	CpusetCPUs      string            `json:"cpusetCpus"`
	CpusetMems      string            `json:"cpusetMems"`
	HugepageLimits  []HugepageLimit   `json:"hugepageLimits"`
	PidsLimit       int64             `json:"pidsLimit"`
	Unified         map[string]string `json:"unified"`
}

// HugepageLimit bounds huge pages of one size.
type HugepageLimit struct {
	PageSize string `json:"pageSize"` // "2MB"
	Limit    uint64 `json:"limit"`    // bytes
}

// Security is the security context of a pod or container.
type Security struct {
	Privileged         bool           `json:"privileged"`
	RunAsUser          *int64         `json:"runAsUser,omitempty"`
	RunAsGroup         *int64         `json:"runAsGroup,omitempty"`
	RunAsUsername      string         `json:"runAsUsername"`
	SupplementalGroups []int64        `json:"supplementalGroups"`
	StrictGroups       bool           `json:"strictGroups"`
	AddCapabilities    []string       `json:"addCapabilities"`
	DropCapabilities   []string       `json:"dropCapabilities"`
	AddAmbientCaps     []string       `json:"addAmbientCaps"`
	ReadOnlyRootFS     bool           `json:"readOnlyRootFs"`
	NoNewPrivs         bool           `json:"noNewPrivs"`
	MaskedPaths        []string       `json:"maskedPaths"`
	ReadonlyPaths      []string       `json:"readonlyPaths"`
	Seccomp            SeccompProfile `json:"seccomp"`
}

// SeccompProfile selects a seccomp filter.
type SeccompProfile struct {
	Type          SeccompType `json:"type"`
	LocalhostPath string      `json:"localhostPath"` // host path of a profile
}

// SeccompType is the kind of a seccomp profile.
type SeccompType string

const (
	SeccompUnconfined     SeccompType = "unconfined"
	SeccompRuntimeDefault SeccompType = "runtime-default"
	SeccompLocalhost      SeccompType = "localhost"
)

// PodState is the state of a pod sandbox as callers see it.
type PodState string

const (
	PodReady    PodState = "ready"
	PodNotReady PodState = "not-ready"
)

// Phase is the state of a container as callers see it.
type Phase string

const (
	ContainerCreatedPhase Phase = "created"
	ContainerRunning      Phase = "running"
	ContainerExited       Phase = "exited"
	ContainerUnknown      Phase = "unknown"
)

// Pod is a snapshot of a pod sandbox. Callers must not change what it refers to.
type Pod struct {
	ID        string
	Config    PodConfig
	State     PodState
	CreatedAt time.Time
	IPs       []string // primary first
	NetNS     string
	Reason    string   // why it is not ready, when it did not stop by request
	Ungrouped string   // why its VM is not below CgroupParent; empty: it is, or there is none
	Shim      ShimInfo // zero when its VM does not run
	VM        string   // its VM's id, which pods that share one have in common
}

// Container is a snapshot of a container. Callers must not change what it refers to.
type Container struct {
	ID         string
	PodID      string
	Config     ContainerConfig
	ImageID    string
	Phase      Phase
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int
	Reason     string // Completed, Error, OOMKilled, or why it could not start
	Message    string
	LogPath    string // absolute host path
	User       ResolvedUser
	StopSignal string
	PID        int // in the guest
}
