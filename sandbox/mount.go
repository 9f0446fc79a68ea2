package sandbox

// Mount is one thing of the host that the caller wants a container to see.
type Mount struct {
	ContainerPath string      `json:"containerPath"` // absolute
	HostPath      string      `json:"hostPath,omitempty"`
	ReadOnly      bool        `json:"readOnly,omitempty"`
	Recursive     bool        `json:"recursive,omitempty"` // read-only below other mounts too
	Propagation   Propagation `json:"propagation,omitempty"`
	Relabel       bool        `json:"relabel,omitempty"` // kept to be echoed
	Options       []string    `json:"options,omitempty"` // of noexec, nodev, nosuid
	Image         *MountImage `json:"image,omitempty"`   // instead of HostPath
	// Users has owners seen through a user namespace, which is the pod's; nil: they are as they are.
	Users *UserNamespace `json:"users,omitempty"`
	Asked *MountPaths    `json:"asked,omitempty"` // the paths as the caller wrote them, where it wrote others; to be echoed
}

// MountPaths are a mount's paths in the caller's own way of writing them.
type MountPaths struct {
	Container string `json:"container"`
	Host      string `json:"host"`
}

// MountImage is an image whose content is mounted.
type MountImage struct {
	Ref     string `json:"ref"` // id or reference
	UserRef string `json:"userRef,omitempty"`
	SubPath string `json:"subPath,omitempty"` // relative; empty: the root
}

// Propagation says which later mounts a mount shows.
type Propagation string

const (
	PropagatePrivate         Propagation = ""                  // none
	PropagateHostToContainer Propagation = "host-to-container" // those that the host makes below HostPath
)

// MountSetup is one mount of a container as its shim makes it. One of Folder, Disk and
// Image is set.
type MountSetup struct {
	ContainerPath string        `json:"containerPath"`
	ReadOnly      bool          `json:"readOnly"`
	Options       []string      `json:"options,omitempty"`
	MapIDs        bool          `json:"mapIds,omitempty"` // owners are seen through the pod's user namespace
	Folder        *FolderSource `json:"folder,omitempty"`
	Disk          *DiskSource   `json:"disk,omitempty"`
	Image         *ImageSource  `json:"image,omitempty"`
}

// FolderSource is a folder or a regular file of the host.
type FolderSource struct {
	Path            string `json:"path"`    // absolute, without symbolic links when it was looked at
	Private         bool   `json:"private"` // no other VM gets it
	HostToContainer bool   `json:"hostToContainer"`
	Recursive       bool   `json:"recursive,omitempty"` // read-only goes for mounts below it too
	FSGroup         uint32 `json:"fsGroup,omitempty"`   // group of files that say nothing of an owner; 0: none
}

// DiskSource is a disk of the host with an ext4 file system.
type DiskSource struct {
	// Path is the disk's file; with ScratchBytes a folder, in which a sparse disk of that
	// size is made and used.
	Path         string `json:"path"`
	ScratchBytes int64  `json:"scratchBytes"`
}

// ImageSource is the content of an image.
type ImageSource struct {
	Layers  []Layer `json:"layers"` // bottom first
	SubPath string  `json:"subPath"`
}
