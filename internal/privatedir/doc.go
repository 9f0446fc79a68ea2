// Package privatedir makes folders that are the program's own: on Windows SYSTEM and
// Administrators alone enter them, elsewhere their mode says who does. It is not for
// folders that pods or users write in. Make may be called from any goroutine.
package privatedir

import "io/fs"

// Make makes the folder at path, with those above it that are missing, or takes over one
// that is there. On Windows mode says nothing: the folder, and what is made in it, is for
// SYSTEM and Administrators. It is refused with fs.ErrPermission when it, or one above it,
// is of another user, who could change what is in it: every user may make folders in
// C:\ProgramData.
func Make(path string, mode fs.FileMode) error { return makeDir(path, mode) }
