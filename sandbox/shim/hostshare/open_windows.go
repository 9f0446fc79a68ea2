package hostshare

import (
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs"
)

// liveFolder opens a folder as it is: NTFS has no copies of mounts.
var liveFolder sandbox.FolderSource

// atomicWriters are the kubelet's volume plugins whose files have the mode 0644 unless
// told otherwise, which the kubelet of Windows does not write down.
var atomicWriters = []string{"kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"}

func openFolder(path string, _ shim.ShareSource) (share.Backend, error) {
	var o ntfs.Options
	slashed := filepath.ToSlash(path)
	for _, plugin := range atomicWriters {
		if strings.Contains(slashed, "/volumes/"+plugin+"/") {
			o.FileMode = 0o644
		}
	}
	b, err := ntfs.Open(path, o)
	if err != nil {
		return nil, err // not a nil *Backend in an interface
	}
	return b, nil
}

func mountsBelow(string) bool { return false }
