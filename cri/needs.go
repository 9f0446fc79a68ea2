package cri

import (
	"context"
	"time"

	"github.com/porthole-run/porthole/sandbox"
)

// Pods is the life of pod sandboxes. Ids may be cut short as long as they name one pod:
// NotFound for none, InvalidArgument for several.
type Pods interface {
	// RunPod makes and starts a pod; on error nothing is left of it.
	RunPod(ctx context.Context, c sandbox.PodConfig) (id string, err error)
	// StopPod stops its containers and its VM and frees its addresses; may be repeated.
	StopPod(ctx context.Context, id string) error
	// UpdatePod records new sums of resources; nil: as before. ResourceExhausted for what
	// its VM cannot hold.
	UpdatePod(ctx context.Context, id string, resources, overhead *sandbox.Resources) error
	// RemovePod stops it if needed and forgets it and its containers.
	RemovePod(ctx context.Context, id string) error
	Pod(ctx context.Context, id string) (sandbox.Pod, error)
	// EachPod calls do for each that matches, oldest first. What do is given is do's until
	// it returns.
	EachPod(ctx context.Context, f sandbox.PodFilter, do func(*sandbox.Pod)) error
}

// Containers is the life of containers. Ids are as for Pods.
type Containers interface {
	CreateContainer(ctx context.Context, podID string, c sandbox.ContainerConfig) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal, waits for timeout, then kills; may be repeated.
	StopContainer(ctx context.Context, id string, timeout time.Duration) error
	// UpdateContainer changes the limits that r sets, and keeps those that are zero in it.
	UpdateContainer(ctx context.Context, id string, r sandbox.Resources) error
	// RemoveContainer kills it if needed and forgets it.
	RemoveContainer(ctx context.Context, id string) error
	Container(ctx context.Context, id string) (sandbox.Container, error)
	// EachContainer is for containers what EachPod is for pods.
	EachContainer(ctx context.Context, f sandbox.ContainerFilter, do func(*sandbox.Container)) error
}

// Processes is what is done to running containers from outside.
type Processes interface {
	// Exec runs a process; when ctx ends it kills it and returns ctx's error.
	Exec(ctx context.Context, containerID string, e sandbox.ExecSpec, s sandbox.Streams) (exitCode int, err error)
	ReopenContainerLog(ctx context.Context, containerID string) error
}

// Network tells whether pods can get addresses.
type Network interface {
	// NetworkReady is nil, or says what is missing.
	NetworkReady(ctx context.Context) error
}

// Images is the image store. Refs are references, ids or digests as callers write them.
type Images interface {
	// Pull makes the image complete in the store and returns its id.
	Pull(ctx context.Context, ref string, auth Auth) (id string, err error)
	// Image finds one image; NotFound when there is none.
	Image(ctx context.Context, ref string) (Image, error)
	Images(ctx context.Context) ([]Image, error)
	// Remove takes away the image with all its names; NotFound when there is none.
	Remove(ctx context.Context, ref string) error
	FsInfo(ctx context.Context) (FsInfo, error)
}

// Disks tells what the writable disks of pods take.
type Disks interface {
	// DiskInfo has the same Mountpoint as Images.FsInfo where both are on one file system.
	DiskInfo(ctx context.Context) (FsInfo, error)
}

// Streams makes the URLs under which streams are served, each good for one use.
type Streams interface {
	ExecURL(ctx context.Context, e ExecURL) (string, error)
	AttachURL(ctx context.Context, a AttachURL) (string, error)
	PortForwardURL(ctx context.Context, podID string, ports []uint16) (string, error)
}

// ExecURL asks for the URL of one Exec.
type ExecURL struct {
	ContainerID                string
	Cmd                        []string
	TTY, Stdin, Stdout, Stderr bool
}

// AttachURL asks for the URL of one Attach.
type AttachURL struct {
	ContainerID                string
	TTY, Stdin, Stdout, Stderr bool
}

// Auth is what a registry is to be convinced with. Its text form shows no secret.
type Auth struct {
	Username      string
	Password      string
	Auth          string // base64 of username:password, instead of both
	ServerAddress string // what the credentials are for; empty: the image's registry
	IdentityToken string
	RegistryToken string
}

// String says only whether there is something.
func (a Auth) String() string {
	if a == (Auth{}) {
		return "none"
	}
	return "given"
}

// GoString keeps secrets out of %#v too.
func (a Auth) GoString() string { return "cri.Auth{" + a.String() + "}" }

// Image is an image of the store.
type Image struct {
	ID      string   // the digest of its config
	Tags    []string // name:tag, fully qualified
	Digests []string // name@digest, fully qualified
	Bytes   uint64   // what it takes on disk
	User    string   // of its config: "", "name", "uid", "name:group", …
	Pinned  bool     // never to be removed by garbage collection
	Config  []byte   // its config as JSON, for verbose status; may be nil
}

// FsInfo is how much of a file system images or scratch disks use.
type FsInfo struct {
	At         time.Time
	Mountpoint string // an existing directory on it
	UsedBytes  uint64
	UsedInodes uint64
}

// Usage tells what pods and containers use, as their VMs told it: now, but that lists
// without open files may be of a second before. Lists are bounded in time: what does not
// answer is left out. What do is given is do's until it returns.
type Usage interface {
	PodUsage(ctx context.Context, id string) (sandbox.PodUsage, error)
	EachPodUsage(ctx context.Context, f sandbox.PodFilter, openFiles bool, do func(*sandbox.PodUsage)) error
	ContainerUsage(ctx context.Context, id string) (sandbox.ContainerUsage, error)
	EachContainerUsage(ctx context.Context, f sandbox.ContainerFilter, do func(*sandbox.ContainerUsage)) error
}

// Events tells what happens to pods and containers.
type Events interface {
	// Events calls begun once no change can be missed, then f for each, in order, until ctx
	// ends or one of the two fails, and returns that error. A reader that is too slow gets
	// a ResourceExhausted error.
	Events(ctx context.Context, begun func() error, f func(sandbox.Event) error) error
}
