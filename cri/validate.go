package cri

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/errdefs"
)

// The bounds of what a request may hold. They are far above what the kubelet sends and
// keep one bad request from growing records and logs; docs/cri.md lists them.
const (
	maxID         = 256     // bytes of an id
	maxName       = 253     // bytes of a pod's or container's name, namespace and uid
	maxMapEntries = 1024    // labels, annotations, sysctls
	maxMapKey     = 512     // bytes of one key
	maxMapBytes   = 1 << 20 // keys and values of one map
	maxArgs       = 8192    // command and args, each; environment variables
	maxArgBytes   = 2 << 20 // all of one list, as Linux's own limit of arguments
	maxPath       = 4096    // bytes of a path
	maxImageRef   = 1024    // bytes of an image reference
	maxDNSEntries = 32      // servers, searches, options, each
	maxPorts      = 1024    // port mappings; forwarded ports
	maxGroups     = 65536   // supplemental groups, as Linux's limit
	maxHostname   = 64      // bytes, as Linux's limit
	maxListItems  = 1024    // capabilities, masked paths and the like
	maxMounts     = 256     // of a container
)

// invalid is an InvalidArgument error about a field, named as in the CRI's proto file.
func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
}

// unbuilt is an Unimplemented error about a field.
func unbuilt(field, why string) error {
	return fmt.Errorf("%s: %s: %w", field, why, errdefs.ErrNotImplemented)
}

// firstError returns the first error that is not nil. Checks that cannot do harm when
// an earlier one has failed are written as a list.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkID(field, id string) error {
	if id == "" {
		return invalid(field, "is empty")
	}
	if len(id) > maxID {
		return invalid(field, "is longer than %d bytes", maxID)
	}
	return nil
}

func checkName(field, name string) error {
	if name == "" {
		return invalid(field, "is empty")
	}
	if len(name) > maxName {
		return invalid(field, "is longer than %d bytes", maxName)
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return invalid(field, "%q holds a control character", name)
	}
	return checkText(field, name)
}

// checkPodName is checkName for what CNI plugins are told too, in a list of key=value
// that has no quoting.
func checkPodName(field, name string) error {
	if strings.ContainsAny(name, ";=") {
		return invalid(field, "%q holds a character that the arguments of CNI plugins cannot: ; or =", clean(name, maxName))
	}
	return checkName(field, name)
}

// checkText refuses what no name, path or argument can hold.
func checkText(field, s string) error {
	if strings.ContainsRune(s, 0) {
		return invalid(field, "holds a NUL byte")
	}
	if !utf8.ValidString(s) {
		return invalid(field, "is not valid UTF-8")
	}
	return nil
}

// checkMap is for labels and the like. Values may be of many lines, as annotations are.
func checkMap(field string, m map[string]string) error {
	if len(m) > maxMapEntries {
		return invalid(field, "has %d entries, at most %d are taken", len(m), maxMapEntries)
	}
	total := 0
	for k, v := range m {
		if len(k) > maxMapKey {
			return invalid(field, "has a key of %d bytes, at most %d are taken", len(k), maxMapKey)
		}
		if strings.ContainsFunc(k, unicode.IsControl) {
			return invalid(field, "has a key, %q, with a control character", k)
		}
		total += len(k) + len(v)
	}
	if total > maxMapBytes {
		return invalid(field, "holds %d bytes, at most %d are taken", total, maxMapBytes)
	}
	return nil
}

func checkArgs(field string, args []string) error {
	if len(args) > maxArgs {
		return invalid(field, "has %d entries, at most %d are taken", len(args), maxArgs)
	}
	total := 0
	for i, a := range args {
		if err := checkText(fmt.Sprintf("%s[%d]", field, i), a); err != nil {
			return err
		}
		total += len(a) + 1
	}
	if total > maxArgBytes {
		return invalid(field, "holds %d bytes, at most %d are taken", total, maxArgBytes)
	}
	return nil
}

// checkList is for short lists of words: no blanks, no control characters.
func checkList(field string, list []string, limit int) error {
	if len(list) > limit {
		return invalid(field, "has %d entries, at most %d are taken", len(list), limit)
	}
	for i, s := range list {
		if len(s) > maxPath {
			return invalid(fmt.Sprintf("%s[%d]", field, i), "is longer than %d bytes", maxPath)
		}
		if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
			return invalid(fmt.Sprintf("%s[%d]", field, i), "%q holds a blank or a control character", s)
		}
	}
	return nil
}

// checkGuestPath is for a path in the guest: empty, or absolute.
func checkGuestPath(field, p string) error {
	if p == "" {
		return nil
	}
	if len(p) > maxPath {
		return invalid(field, "is longer than %d bytes", maxPath)
	}
	if !path.IsAbs(p) {
		return invalid(field, "%q is not an absolute path", p)
	}
	return checkText(field, p)
}

func checkGuestPaths(field string, paths []string) error {
	if len(paths) > maxListItems {
		return invalid(field, "has %d entries, at most %d are taken", len(paths), maxListItems)
	}
	for i, p := range paths {
		f := fmt.Sprintf("%s[%d]", field, i)
		if p == "" {
			return invalid(f, "is empty")
		}
		if err := checkGuestPath(f, p); err != nil {
			return err
		}
	}
	return nil
}

var (
	hostnamePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	sysctlPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]+([./][A-Za-z0-9_*-]+)*$`)
	pageSizePattern = regexp.MustCompile(`^[1-9][0-9]*[KMG]B$`)
)

func checkHostname(field, name string) error {
	if name == "" {
		return nil
	}
	if len(name) > maxHostname {
		return invalid(field, "is longer than %d bytes", maxHostname)
	}
	if !hostnamePattern.MatchString(name) {
		return invalid(field, "%q is not a host name", name)
	}
	return nil
}

func checkSysctls(field string, m map[string]string) error {
	if err := checkMap(field, m); err != nil {
		return err
	}
	for k, v := range m {
		if !sysctlPattern.MatchString(k) {
			return invalid(field, "%q is not a sysctl's name", k)
		}
		if err := checkText(fmt.Sprintf("%s[%s]", field, k), v); err != nil {
			return err
		}
	}
	return nil
}

func checkAddress(field, s string) error {
	if _, err := netip.ParseAddr(s); err != nil {
		return invalid(field, "%q is not an IP address", s)
	}
	return nil
}

func checkImageRef(field, ref string) error {
	if ref == "" {
		return invalid(field, "is empty")
	}
	if len(ref) > maxImageRef {
		return invalid(field, "is longer than %d bytes", maxImageRef)
	}
	return checkList(field, []string{ref}, 1)
}
