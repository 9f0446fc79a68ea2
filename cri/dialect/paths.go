package dialect

import (
	"path"
	"slices"
	"strings"
)

// hostsFile is where a Windows kubelet mounts a pod's hosts file.
const hostsFile = `C:\Windows\System32\drivers\etc\hosts`

// hasDrive tells whether p begins with a drive's letter and a colon.
func hasDrive(p string) bool {
	return len(p) >= 2 && p[1] == ':' && (p[0]|0x20) >= 'a' && (p[0]|0x20) <= 'z'
}

func slashes(p string) string { return strings.ReplaceAll(p, `\`, "/") }

// guestPath is the path in the container that a Windows kubelet means by p. The kubelet
// leaves a path that begins with a slash as it is, so that backslashes in one are the
// author's; it puts "c:" or "c:\" before what it takes for relative.
func guestPath(field, p string) (string, error) {
	switch {
	case strings.EqualFold(p, hostsFile):
		return "/etc/hosts", nil
	case strings.HasPrefix(p, `\\`), strings.HasPrefix(p, "//") && strings.Contains(p, `\`):
		return "", invalid(field, "%q is a pipe or a share of Windows, which a Linux container cannot have", p)
	case hasDrive(p):
		rest := slashes(p[2:])
		if !strings.HasPrefix(rest, "/") {
			return "", invalid(field, "%q is relative to a drive", p)
		}
		return rest, nil
	case strings.HasPrefix(p, `\`):
		return slashes(p), nil
	}
	return p, nil
}

// hostPath is the path on this host of one that a Windows kubelet wrote: c:\x, c:/x, \x
// and /x on the system drive, \\server\share\x.
func (w *Windows) hostPath(field, p string) (string, error) {
	rest := slashes(p)
	// The prefixes that switch Windows' parsing off, before a share or a drive; the longest
	// comes first.
	for _, verbatim := range []struct{ prefix, with string }{{"//?/unc/", "//"}, {"//?/", ""}, {"//./", ""}} {
		if n := len(verbatim.prefix); len(rest) >= n && strings.EqualFold(rest[:n], verbatim.prefix) {
			if short := verbatim.with + rest[n:]; verbatim.with != "" || hasDrive(short) {
				rest = short
				break
			}
			return "", invalid(field, "%q is a device or a pipe of Windows, which a VM cannot be shown", p)
		}
	}
	if strings.ContainsRune(rest, 0) {
		return "", invalid(field, "holds a NUL byte")
	}
	drive := ""
	switch {
	case strings.HasPrefix(rest, "//"):
		if len(w.c.Drives) > 0 {
			return "", invalid(field, "%q is a share of Windows, which this host does not reach", p)
		}
		if strings.Count(path.Clean(rest), "/") < 2 {
			return "", invalid(field, "%q names a server without a share", p)
		}
	case hasDrive(rest):
		drive, rest = rest[:2], rest[2:]
		if !strings.HasPrefix(rest, "/") {
			return "", invalid(field, "%q is relative to a drive", p)
		}
	case strings.HasPrefix(rest, "/"):
		drive = w.c.SystemDrive
	default:
		return "", invalid(field, "%q is not an absolute path of Windows", p)
	}
	// Windows drops dots and blanks at the end of a name: ".. " may be "..".
	if slices.ContainsFunc(strings.Split(rest, "/"), func(name string) bool {
		return strings.Trim(name, ". ") == "" && len(name) > 1
	}) {
		return "", invalid(field, "%q holds ..", p)
	}
	// A colon in a name is an alternate data stream.
	if strings.ContainsAny(rest, `:*?"<>|`) {
		return "", invalid(field, "%q holds what no file of Windows can be called", p)
	}
	if len(w.c.Drives) == 0 {
		return drive + strings.ReplaceAll(rest, "/", `\`), nil
	}
	dir, ok := w.c.Drives[strings.ToLower(drive[:1])]
	if !ok {
		return "", invalid(field, "%q is on a drive that has no folder here", p)
	}
	return path.Join(dir, rest), nil
}

// ShowPath is the way back for a path of the host that the kubelet is to open, such as
// that of a log: itself where the host is Windows.
func (w *Windows) ShowPath(p string) string {
	for drive, dir := range w.c.Drives {
		if rest, ok := strings.CutPrefix(p, strings.TrimSuffix(dir, "/")+"/"); ok {
			return drive + `:\` + strings.ReplaceAll(rest, "/", `\`)
		}
	}
	return p
}
