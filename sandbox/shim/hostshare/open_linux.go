package hostshare

import (
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
)

// liveFolder opens a folder as it is, without a copy of the mounts below.
var liveFolder = sandbox.FolderSource{HostToContainer: true}

func openFolder(path string, s shim.ShareSource) (share.Backend, error) {
	b, err := hostfs.Open(path, hostfs.Options{RecursiveReadOnly: s.ReadOnly, HostToContainer: s.HostToContainer})
	if err != nil {
		return nil, err // not a nil *FS in an interface
	}
	return b, nil
}
