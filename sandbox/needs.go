package sandbox

import (
	"context"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Images gives containers their root file systems.
type Images interface {
	// Prepare finds the image by id, digest or reference, makes sure its layers are
	// on disk, and keeps it from removal until Release of the same containerID. An
	// image that a container mounts is held by the container's id, a slash and a number.
	// NotFound when it was not pulled. It may be called again with the same containerID:
	// after a restart each container's image is prepared anew, by its id.
	Prepare(ctx context.Context, ref, containerID string) (RootFS, error)
	// Release undoes Prepare. Unknown ids are not an error.
	Release(ctx context.Context, containerID string) error
}

// ImageHolders is what Images may implement too when Prepare's holds outlive the daemon:
// at start those of containers that are not known any more are released.
type ImageHolders interface {
	// Holders returns the container ids given to Prepare and not to Release yet.
	Holders() []string
}

// ImageUsers is what Images may implement too: it looks users up in images.
type ImageUsers interface {
	// FindUser says whom u is by the image's own files, before any container wrote. root is of
	// Prepare, and not released. ok is false where that is not certain, or cannot be: then the
	// guest looks, and has the error to tell.
	FindUser(ctx context.Context, root RootFS, u User) (found FoundUser, ok bool)
}

// RootFS is an image made ready for a container.
type RootFS struct {
	ImageID string // the image's id: the digest of its config
	Layers  []Layer
	Config  ImageConfig
}

// ImageConfig is the part of an image's config that containers start from.
type ImageConfig struct {
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	WorkingDir string
	StopSignal string
	Volumes    []string
}

// Network gives pods their addresses.
type Network interface {
	// Attach makes the pod's network namespace and runs CNI ADD. After an error Detach
	// gives back what is left.
	Attach(ctx context.Context, p PodNetwork) (NetworkResult, error)
	// Detach runs CNI DEL and removes the namespace. It may be called again, after a
	// failed Attach and after a reboot; what is gone is not an error.
	Detach(ctx context.Context, p PodNetwork) error
	// Ready is nil when pods can be attached, else says what is missing.
	Ready(ctx context.Context) error
}

// PodNetwork names a pod to the network.
type PodNetwork struct {
	ID, Name, Namespace, UID string
	PortMappings             []PortMapping
	Annotations, Labels      map[string]string
	CgroupParent             string
	DNS                      DNS // as asked for; empty: the network's own
}

// PortMapping is a host port that CNI is asked to map.
type PortMapping struct {
	Protocol      string `json:"protocol"` // tcp, udp, sctp
	ContainerPort int32  `json:"containerPort"`
	HostPort      int32  `json:"hostPort"`
	HostIP        string `json:"hostIp"`
}

// NetworkResult is what CNI gave a pod.
type NetworkResult struct {
	Namespace  string   `json:"namespace"` // path or id
	NICs       []PodNIC `json:"nics"`
	IPs        []string `json:"ips"` // primary first
	DNSServers []string `json:"dnsServers"`
	DNSSearch  []string `json:"dnsSearch"`
	DNSOptions []string `json:"dnsOptions"`
}

// Cgroups keeps the control groups of the host that pods' VMs run in.
type Cgroups interface {
	// Make makes the group of a pod below the parent that its caller named; what is not
	// there of the parent is made too. InvalidArgument when the parent cannot be one. After
	// an error nothing is left.
	Make(ctx context.Context, podID, parent string) (Cgroup, error)
	// Enter moves processes that run into the group, for good.
	Enter(ctx context.Context, g Cgroup, pids []int) error
	// Remove waits until nothing runs in the group any more and removes it, with what Make
	// made above it and nobody else uses. It may be called again, without Make before, and
	// after the parent has gone; gone is not an error. Without a parent the group is looked
	// for.
	Remove(ctx context.Context, podID, parent string) error
}

// Cgroup is the host's control group of a pod.
type Cgroup struct {
	Dirs        []string // its folders, one a hierarchy
	MemoryLimit int64    // of the parent, in bytes; -1: none
}

// Specs makes the OCI spec of a container. Package sandbox/ocispec implements it.
type Specs interface {
	// Spec returns InvalidArgument errors that name the field at fault.
	Spec(ctx context.Context, p PodConfig, c ContainerConfig, img ImageConfig) (*specs.Spec, User, error)
	// Limits are the cgroup limits alone, as they can be changed in a container.
	Limits(r Resources) *specs.LinuxResources
}
