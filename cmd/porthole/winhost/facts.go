package winhost

import (
	"context"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// MinBuild is Windows Server 2022: kernel direct boot and the memory options of the VM's
// document are not in older builds.
const MinBuild = 20348

// Places are what of the configuration the facts are about.
type Places struct {
	Dirs []string // that Porthole keeps files in: root, state, the bundle
	Pipe string   // of the CRI, as \\.\pipe\NAME; empty: none
	// Programs are what Defender should not scan the files of: porthole.exe.
	Programs []string
}

// Facts are what was seen of a host. An Err of a part is why that part is not known.
type Facts struct {
	Elevated bool // Administrator or SYSTEM

	Product  string // "Windows Server 2022 Datacenter"
	Build    int
	Revision int // of monthly updates

	Services map[string]Service // by name

	Schema    []hcs.Version // of documents that the Host Compute Service takes
	SchemaErr error

	HNS    hcnnet.Version
	HNSErr error

	Volumes    map[string]Volume // by folder of Places
	Exclusions []string          // Defender's, paths and processes
	// ExclusionsErr is why they are not known; fs.ErrNotExist: Defender is not installed.
	ExclusionsErr error

	Pipe    string // its name
	PipeACL string // SDDL
	PipeErr error  // fs.ErrNotExist: nobody serves it
}

// Service is a service of Windows. One that is not installed is absent from Facts.
type Service struct {
	Status   string // "running", "stopped" …
	Disabled bool   // it cannot be started
	Err      error
}

// Volume is what a folder is on.
type Volume struct {
	FileSystem string // "NTFS", "ReFS" …
	Compressed bool   // the folder's new files are compressed
	Encrypted  bool   // the folder's new files are encrypted
	FreeBytes  uint64
	Err        error
}

// Gather looks at this host. It changes nothing. Only a context that ends is an error; outside of Windows
// it is errors.ErrUnsupported.
func Gather(ctx context.Context, p Places) (Facts, error) { return gather(ctx, p) }

// needed are the services, with what brings each.
var needed = []struct{ name, what, install string }{
	{"vmcompute", "Hyper-V Host Compute Service", installHyperV},
	{"vmms", "Hyper-V Virtual Machine Management", installHyperV},
	{"hns", "Host Network Service", installContainers},
}

const (
	installHyperV     = "Install-WindowsFeature Hyper-V -IncludeManagementTools -Restart"
	installContainers = "Install-WindowsFeature Containers -Restart"
)
