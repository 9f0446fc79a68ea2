package hostshare

import (
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share/ntfs"
)

// atomicWriters are the kubelet's volume plugins whose files have the mode 0644 unless
// told otherwise, which the kubelet of Windows does not write down.
var atomicWriters = []string{"kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"}

// Modes that a kubelet on Linux adds when it gives a volume to a group (SetVolumeOwnership).
const (
	groupFile     = 0o660
	groupReadOnly = 0o440
	groupFolder   = 0o110
	setGroupID    = 0o2000
)

// ntfsOptions are how files look that say nothing of their owner and mode: those that the kubelet and other
// programs of Windows make.
func ntfsOptions(path string, s shim.ShareSource) ntfs.Options {
	o := ntfs.Options{FileMode: 0o755, DirMode: 0o755}
	slashed := strings.ReplaceAll(filepath.ToSlash(path), `\`, "/")
	for _, plugin := range atomicWriters {
		if strings.Contains(slashed, "/volumes/"+plugin+"/") {
			o.FileMode = 0o644
		}
	}
	if s.FSGroup != 0 {
		o.GID = s.FSGroup
		access := uint32(groupFile)
		if s.ReadOnly {
			access = groupReadOnly
		}
		o.FileMode |= access
		o.DirMode |= access | groupFolder | setGroupID
	}
	return o
}
