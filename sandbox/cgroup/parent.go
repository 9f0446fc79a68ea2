package cgroup

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	sliceSuffix = ".slice"
	maxParent   = 4096
	maxName     = 255 // the kernel's
)

// Clean checks a cgroup parent as CRI has it and returns it as an absolute path below a
// hierarchy's root. A systemd slice's name stands for where systemd puts that slice:
// "a-b.slice" is /a.slice/a-b.slice. InvalidArgument.
func Clean(parent string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("cgroup_parent %.200q: %s: %w", parent, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
	}
	switch {
	case parent == "":
		return bad("is empty")
	case len(parent) > maxParent:
		return bad("is longer than %d bytes", maxParent)
	case strings.ContainsAny(parent, "\x00\n"):
		return bad("holds a character that no group's name can")
	case slices.Contains(strings.Split(parent, "/"), ".."):
		return bad("holds ..")
	}
	out := path.Clean("/" + parent)
	if strings.HasSuffix(parent, sliceSuffix) && !strings.Contains(parent, "/") {
		var ok bool
		if out, ok = expandSlice(parent); !ok {
			return bad("is no name of a systemd slice")
		}
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(out, "/"), "/") {
		switch {
		case len(name) > maxName:
			return bad("has a name longer than %d bytes", maxName)
		case strings.HasPrefix(name, "cgroup."):
			return bad("%q is a name of the kernel's own files", name)
		}
	}
	return out, nil
}

// expandSlice turns a slice's name into its path (systemd.slice(5)).
func expandSlice(name string) (string, bool) {
	stem := strings.TrimSuffix(name, sliceSuffix)
	if stem == "-" {
		return "/", true
	}
	at, prefix := "/", ""
	for part := range strings.SplitSeq(stem, "-") {
		if part == "" {
			return "", false
		}
		at = path.Join(at, prefix+part+sliceSuffix)
		prefix += part + "-"
	}
	return at, true
}
