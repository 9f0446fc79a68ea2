package sandbox

import (
	"path/filepath"
	"strings"
)

// ofVolume tells whether a host path is a volume of the pod, as the kubelet keeps them: it gives
// those to fsGroup, and neither the host's own folders nor what else it makes for a pod.
func ofVolume(real, podUID string) bool {
	if podUID == "" {
		return false
	}
	parts := strings.Split(filepath.ToSlash(filepath.Clean(real)), "/")
	for i := len(parts) - 3; i > 0; i-- {
		if parts[i-1] == "pods" && parts[i] == podUID {
			return parts[i+1] == "volumes" || parts[i+1] == "volume-subpaths"
		}
	}
	return false
}
