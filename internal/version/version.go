// Package version holds the build's version, which the linker sets.
package version

import "runtime/debug"

// Version is what `git describe` said at build time; "devel" in a build by hand.
var Version = "devel"

// Revision is the commit that the build was made from, or "" when it is not known.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
