package sandbox

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Annotations of a pod, or of a container, that make disks of mounts. Mounts are named
// by their paths in the container; paths that a container has no mount at are passed over, as
// they may be another container's.
const (
	// AnnotationDisks lists mounts whose host path is a disk's file: "/data,/var/lib/db".
	AnnotationDisks = "porthole.run/disks"
	// AnnotationScratchDisks lists mounts of folders that get a disk of a size:
	// "/cache=10Gi,/tmp/work=512Mi".
	AnnotationScratchDisks = "porthole.run/scratch-disks"
)

// minScratchDisk is the least that an ext4 file system is worth making on.
const minScratchDisk = 16 << 20

// diskMount says that a mount is a disk.
type diskMount struct {
	disk         bool  // the host path is the disk
	scratchBytes int64 // it is the folder for a disk of that size
}

// parseDiskMounts reads the annotations; later maps win. Paths are clean in the result.
func parseDiskMounts(annotations ...map[string]string) (map[string]diskMount, error) {
	out := map[string]diskMount{}
	for _, from := range annotations {
		for _, item := range split(from[AnnotationDisks]) {
			p, err := mountName(AnnotationDisks, item)
			if err != nil {
				return nil, err
			}
			out[p] = diskMount{disk: true}
		}
		for _, item := range split(from[AnnotationScratchDisks]) {
			name, size, _ := strings.Cut(item, "=")
			p, err := mountName(AnnotationScratchDisks, name)
			if err != nil {
				return nil, err
			}
			n, err := parseSize(strings.TrimSpace(size))
			if err != nil {
				return nil, fmt.Errorf("annotation %s: %s: %w", AnnotationScratchDisks, name, err)
			}
			if n < minScratchDisk {
				return nil, fmt.Errorf("annotation %s: %s: %d bytes are less than %d: %w", AnnotationScratchDisks, name, n, minScratchDisk, errdefs.ErrInvalidArgument)
			}
			if out[p].disk {
				return nil, fmt.Errorf("annotation %s: %s is in %s too: %w", AnnotationScratchDisks, name, AnnotationDisks, errdefs.ErrInvalidArgument)
			}
			out[p] = diskMount{scratchBytes: n}
		}
	}
	return out, nil
}

func split(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func mountName(annotation, p string) (string, error) {
	if p = strings.TrimSpace(p); !path.IsAbs(p) {
		return "", fmt.Errorf("annotation %s: %q is not an absolute path: %w", annotation, p, errdefs.ErrInvalidArgument)
	}
	return path.Clean(p), nil
}

// sizeUnits are Kubernetes' suffixes of whole quantities.
var sizeUnits = map[string]int64{
	"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

// parseSize reads a whole number of bytes with a unit.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTki")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit, known := sizeUnits[s[len(digits):]]
	if err != nil || !known || n <= 0 || strings.HasPrefix(digits, "+") {
		return 0, fmt.Errorf("%q is not a size: a whole number with one of the units %s: %w",
			s, strings.Join(slices.Sorted(maps.Keys(sizeUnits))[1:], ", "), errdefs.ErrInvalidArgument)
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is too large: %w", s, errdefs.ErrInvalidArgument)
	}
	return n * unit, nil
}
