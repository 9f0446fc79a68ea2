package hostshare

import (
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs"
)

// liveFolder opens a folder as it is: NTFS has no copies of mounts.
var liveFolder sandbox.FolderSource

func openFolder(path string, s shim.ShareSource) (share.Backend, error) {
	b, err := ntfs.Open(path, ntfsOptions(path, s))
	if err != nil {
		return nil, err // not a nil *Backend in an interface
	}
	return b, nil
}

func mountsBelow(string) bool { return false }
