package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// FS is a host's control group file systems.
type FS struct {
	hierarchies []hierarchy
	kernel      kernel
}

// hierarchy is one of them.
type hierarchy struct {
	dir         string   // where it is mounted
	version     int      // 1 or 2
	controllers []string // v1; "name=systemd" for a named hierarchy
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// kernel is what takes the kernel of a real control group file system.
type kernel interface {
	mark(dir string) error
	marked(dir string) bool
	// remove fails with EBUSY or ENOTEMPTY while something is in the group.
	remove(dir string) error
}

// mountInfo is where the kernel tells what is mounted (proc(5)).
const mountInfo = "/proc/self/mountinfo"

// Open finds the host's control groups. NotFound when there are none.
func Open() (*FS, error) {
	if !supported { // a file of that name would be somebody else's
		return nil, fmt.Errorf("this system has no control groups: %w", errdefs.ErrNotFound)
	}
	b, err := os.ReadFile(mountInfo)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this system has no control groups: %w", errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	found := parseMounts(string(b))
	if len(found) == 0 {
		return nil, fmt.Errorf("no control groups are mounted: %w", errdefs.ErrNotFound)
	}
	return &FS{hierarchies: found, kernel: system{}}, nil
}

// parseMounts reads mountinfo. Where v1 has a controller, v2 is there for what v1 has not
// and is left alone, as other runtimes and the kubelet do. Of several mounts of one
// hierarchy the first counts.
func parseMounts(info string) []hierarchy {
	var v1, v2 []hierarchy
	seen := map[string]bool{}
	for line := range strings.Lines(info) {
		// ID parent major:minor root mountpoint options optional… - type source options
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 || seen[left[2]] {
			continue
		}
		h := hierarchy{dir: unescape(left[4])}
		switch right[0] {
		case "cgroup2":
			h.version = 2
			v2 = append(v2, h)
		case "cgroup":
			h.version = 1
			for o := range strings.SplitSeq(right[2], ",") {
				if o != "rw" && o != "ro" && o != "xattr" && o != "noprefix" && o != "clone_children" && !strings.HasPrefix(o, "release_agent=") {
					h.controllers = append(h.controllers, o)
				}
			}
			v1 = append(v1, h)
		default:
			continue
		}
		seen[left[2]] = true
	}
	if slices.ContainsFunc(v1, func(h hierarchy) bool { return !strings.HasPrefix(strings.Join(h.controllers, ","), "name=") }) {
		return v1
	}
	return v2
}

// unescape turns the kernel's \040 into the character.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// Home are the folders of the groups that this process is in, one a hierarchy: where Join
// brings back a process that is not to be a pod's.
func (f *FS) Home() ([]string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find own control groups: %w", err)
	}
	return f.home(string(b)), nil
}

// home reads cgroup(7)'s lines "ID:controllers:path".
func (f *FS) home(text string) []string {
	var out []string
	in := bufio.NewScanner(strings.NewReader(text))
	for in.Scan() {
		parts := strings.SplitN(in.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, h := range f.hierarchies {
			if h.version == 2 && parts[1] == "" || h.version == 1 && parts[1] != "" && h.has(firstOf(parts[1])) {
				out = append(out, filepath.Join(h.dir, filepath.FromSlash(parts[2])))
			}
		}
	}
	return out
}

func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return first
}

// Join moves this process, with all its threads, into groups by their folders. What it
// starts afterwards is in them too. All are tried.
func Join(dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		// 0 is the process that writes.
		if err := os.WriteFile(filepath.Join(dir, procsFile), []byte("0"), 0); err != nil {
			errs = append(errs, fmt.Errorf("join control group: %w", err))
		}
	}
	return errors.Join(errs...)
}

const procsFile = "cgroup.procs"
