package sandbox

import "context"

// A Checkpointer is a Shim whose VM can be saved with its pod, and restored.
type Checkpointer interface {
	// Checkpoint stops all processes of the pod's containers, saves the VM and the pod's
	// scratch disk as files in c.Dir, and lets all go on before it returns, whether or not
	// anything failed. What has exited is taken out of the guest first. A pod of which
	// something cannot be kept is FailedPrecondition or NotImplemented, and says what. On
	// error there is no file of it in c.Dir.
	Checkpoint(ctx context.Context, c CheckpointSetup) (SavedPod, error)
	// RestorePod makes the pod of a shim that was launched with ShimConfig.Restore the one
	// of r: new streams, logs, network and names, and containers that are created and go on
	// where they were when they are started. It may be called once; after an error only
	// Shutdown may.
	RestorePod(ctx context.Context, r PodRestore) error
}

// Files of a checkpoint that a shim writes. Hyper-V takes states by their suffix.
const (
	StateFile   = "vm.vmrs"
	ScratchFile = "scratch.sparse" // a pack of package sparsefile
)

// CheckpointSetup says what is to be saved, and where to.
type CheckpointSetup struct {
	PodID        string
	ContainerIDs []string // all that run in the pod
	Dir          string   // an existing folder
}

// SavedPod is what a shim tells of a pod that it has saved.
type SavedPod struct {
	VM         SavedVM          `json:"vm"`
	VCPUs      int              `json:"vcpus"`
	MemoryMiB  int              `json:"memoryMiB"`
	Kernel     string           `json:"kernel"` // SHA-256 of what the VM booted
	Initrd     string           `json:"initrd"` // likewise
	PodID      string           `json:"podId"`  // as the guest knows it
	LastID     uint64           `json:"lastId"` // of streams and shares
	Scratch    DiskAddress      `json:"scratch"`
	NICs       []string         `json:"nics"` // names, in the guest's order
	Layers     []SavedLayer     `json:"layers"`
	Shares     []SavedShare     `json:"shares,omitempty"`
	Containers []SavedContainer `json:"containers"`
}

// SavedLayer is where a layer's disk is in a saved VM.
type SavedLayer struct {
	DiffID  string      `json:"diffId"`
	Address DiskAddress `json:"address"`
	SHA256  string      `json:"sha256"` // of the disk's file: the guest has read some of it
}

// SavedShare is a share of a saved VM. Its table of files is a file of the checkpoint.
type SavedShare struct {
	ID      uint64 `json:"id"`
	Channel string `json:"channel"`
	File    bool   `json:"file"` // of one file, not a folder
	Read    bool   `json:"readOnly"`
	Table   string `json:"table"` // the file's name
}

// SavedContainer is a container of a saved pod.
type SavedContainer struct {
	ID       string       `json:"id"`      // when it was saved
	GuestID  string       `json:"guestId"` // as the guest knows it
	Stdin    bool         `json:"stdin"`
	Terminal bool         `json:"terminal"`
	Layers   []string     `json:"layers"` // diff ids, bottom first
	Mounts   []SavedMount `json:"mounts,omitempty"`
}

// SavedMount is a mount of a saved container.
type SavedMount struct {
	Path     string   `json:"path"` // in the container
	ReadOnly bool     `json:"readOnly"`
	Options  []string `json:"options,omitempty"`
	Share    uint64   `json:"share,omitempty"`  // the share's id
	Layers   []string `json:"layers,omitempty"` // of an image, bottom first
	SubPath  string   `json:"subPath,omitempty"`
}

// ShimRestore is what a shim restores its VM from.
type ShimRestore struct {
	State string   `json:"state"` // path of the state file, which is only read
	Saved SavedPod `json:"saved"` // with the paths of this VM's disks
}

// PodRestore is what a saved pod is made into.
type PodRestore struct {
	Setup      PodSetup           `json:"setup"` // of the new pod
	Containers []ContainerRestore `json:"containers"`
	Shares     []ShareRestore     `json:"shares,omitempty"`
}

// ContainerRestore is what a saved container is made into.
type ContainerRestore struct {
	ID        string       `json:"id"`
	SavedID   string       `json:"savedId"` // of the SavedContainer
	StdinOnce bool         `json:"stdinOnce"`
	LogPath   string       `json:"logPath"`
	LogDir    string       `json:"logDir,omitempty"` // as in ContainerSetup
	Layers    []Layer      `json:"layers"`           // of the image, bottom first
	Mounts    []MountSetup `json:"mounts,omitempty"` // in the order of the SavedContainer's
}

// ShareRestore says what a saved share shows now.
type ShareRestore struct {
	ID       uint64       `json:"id"`
	Folder   FolderSource `json:"folder"`
	ReadOnly bool         `json:"readOnly"`
	Table    string       `json:"table"` // path of its table of files
}
