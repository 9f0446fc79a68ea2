package card

import "strings"

// An Exception is a check, or a group of them, that a system does not pass, and why.
type Exception struct {
	System string // as Options.System; a prefix that ends with * stands for several
	Check  string // a name; one that ends with * stands for all that begin so
	Reason string
}

// Exceptions is the one table of them. docs/volumes.md tells users the same.
var Exceptions []Exception

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
