package card

import "strings"

// An Exception is a check, or a group of them, that a system does not pass, and why.
type Exception struct {
	System string // as Options.System; one that ends with * stands for all that begin so
	Check  string // a name; one that ends with * stands for all that begin so
	Reason string
}

const nodev = "this mount is nodev: a device keeps its number and opens for nobody"

// Exceptions is the one table of them. docs/volumes.md tells users the same.
var Exceptions = []Exception{
	{"hostfs over FUSE", "mknod/null-device-works", nodev},
	{"ntfs over FUSE", "mknod/null-device-works", nodev},
	{"ntfs*", "utimens/single-nanoseconds", "NTFS keeps times in steps of 100 ns"},
	{"memory*", "fallocate/extends", "the model in memory allocates nothing in advance"},
	{"memory*", "fallocate/keep-size", "the model in memory allocates nothing in advance"},
}

func lookup(all []Exception, system, check string) (reason string, ok bool) {
	for _, e := range all {
		if matches(e.System, system) && matches(e.Check, check) {
			return e.Reason, true
		}
	}
	return "", false
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}
