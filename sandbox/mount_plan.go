package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// folderModeMissing is the mode of a folder that a mount names and that is not there.
const folderModeMissing = 0o755

// planMounts says how the mounts of a container that are not images are made, in the
// order to make them: those nearer to the root first, else as they were given. A host
// path that is not there becomes a folder, as with other runtimes. index gives each
// mount's place in mounts.
func planMounts(p PodConfig, c ContainerConfig) (plan []MountSetup, index []int, err error) {
	disks, err := parseDiskMounts(p.Annotations, c.Annotations)
	if err != nil {
		return nil, nil, err
	}
	index = make([]int, len(c.Mounts))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int {
		return cmp.Compare(depth(c.Mounts[a].ContainerPath), depth(c.Mounts[b].ContainerPath))
	})
	for _, i := range index {
		m := c.Mounts[i]
		at := path.Clean(m.ContainerPath)
		s := MountSetup{ContainerPath: at, ReadOnly: m.ReadOnly, Options: m.Options, MapIDs: m.Users != nil}
		if m.Image == nil {
			if err := s.planHostPath(p, m, disks[at]); err != nil {
				return nil, nil, fmt.Errorf("mounts[%d] %s: %w", i, at, err)
			}
			if s.Folder != nil && ofVolume(s.Folder.Path, p.UID) {
				s.Folder.FSGroup = p.FSGroup
			}
		}
		plan = append(plan, s)
	}
	return plan, index, nil
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

// planHostPath looks at the host path of a mount and fills in the source.
func (s *MountSetup) planHostPath(p PodConfig, m Mount, d diskMount) error {
	real, info, err := resolveHostPath(m.HostPath)
	if err != nil {
		return err
	}
	switch {
	case d.scratchBytes > 0 && !info.IsDir():
		return fmt.Errorf("annotation %s wants a scratch disk in host path %s, which is not a folder: %w",
			AnnotationScratchDisks, m.HostPath, errdefs.ErrInvalidArgument)
	case d.disk && !info.Mode().IsRegular():
		return fmt.Errorf("annotation %s names host path %s, which is not a regular file: %w",
			AnnotationDisks, m.HostPath, errdefs.ErrInvalidArgument)
	case d != diskMount{} && m.Propagation != PropagatePrivate:
		return fmt.Errorf("a disk has private propagation only: %w", errdefs.ErrInvalidArgument)
	case d != diskMount{}:
		s.Disk = &DiskSource{Path: real, ScratchBytes: d.scratchBytes}
		return nil
	case !info.IsDir() && !info.Mode().IsRegular():
		return fmt.Errorf("host path %s is %s: a VM is shown folders and regular files only: %w",
			m.HostPath, kindOf(info.Mode()), errdefs.ErrInvalidArgument)
	case !info.IsDir() && m.Propagation != PropagatePrivate:
		return fmt.Errorf("host path %s is a file, which has private propagation only: %w", m.HostPath, errdefs.ErrInvalidArgument)
	}
	s.Folder = &FolderSource{
		Path:            real,
		Private:         privateHostPath(real, p.UID, m.ReadOnly),
		HostToContainer: m.Propagation == PropagateHostToContainer,
		Recursive:       m.Recursive,
	}
	return nil
}

// resolveHostPath follows symbolic links, and makes a folder where nothing is.
func resolveHostPath(p string) (string, fs.FileInfo, error) {
	if !filepath.IsAbs(p) {
		return "", nil, fmt.Errorf("host path %q is not absolute: %w", p, errdefs.ErrInvalidArgument)
	}
	_, err := os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(p, folderModeMissing)
	}
	if err != nil {
		return "", nil, hostPathError(p, err)
	}
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", nil, hostPathError(p, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", nil, hostPathError(p, err)
	}
	return real, info, nil
}

func hostPathError(p string, err error) error {
	var kind error = errdefs.ErrFailedPrecondition
	if errors.Is(err, fs.ErrPermission) {
		kind = errdefs.ErrPermissionDenied
	}
	return fmt.Errorf("host path %s: %w: %w", p, err, kind)
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "neither a folder nor a regular file"
}

// ownPlugins are the kubelet's volume plugins whose folders are the pod's alone, and
// whether that holds for writing too. In the others' folders things may be mounted that
// other pods get as well.
var ownPlugins = map[string]bool{
	"kubernetes.io~empty-dir":    true,
	"kubernetes.io~projected":    false,
	"kubernetes.io~configmap":    false,
	"kubernetes.io~secret":       false,
	"kubernetes.io~downward-api": false,
}

// privateHostPath tells whether no other pod can be given the host path: what the
// kubelet keeps for one pod, in <its root>/pods/<uid>, and not what it only mounts
// there. Locks on such a share stay in the guest. Any doubt is a no.
func privateHostPath(real, podUID string, readOnly bool) bool {
	if podUID == "" {
		return false
	}
	parts := strings.Split(filepath.ToSlash(filepath.Clean(real)), "/")
	for i := len(parts) - 2; i > 0; i-- {
		if parts[i-1] != "pods" || parts[i] != podUID {
			continue
		}
		rest := parts[i+1:]
		switch rest[0] {
		case "etc-hosts":
			return len(rest) == 1
		case "containers": // termination logs: containers/<name>/<id>
			return len(rest) == 3
		case "volumes": // volumes/<plugin>/<name>…
			if len(rest) < 3 {
				return false
			}
			writable, own := ownPlugins[rest[1]]
			return own && (writable || readOnly)
		}
		return false
	}
	return false
}
