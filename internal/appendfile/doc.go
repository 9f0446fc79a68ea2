// Package appendfile opens files that are written at their end and that others may rename
// or delete meanwhile, as logs are. It is not for files that are read back. Open may be
// called from any goroutine.
package appendfile

import (
	"io/fs"
	"os"
)

// Open opens the file at path for appending, and makes it with mode when it is not there.
// A link at path is not followed, and a FIFO does not hold the call up: whether what was
// opened is a regular file is for the caller to ask. On Windows the file can be renamed
// and deleted while it is open, as everywhere else.
func Open(path string, mode fs.FileMode) (*os.File, error) { return open(path, mode) }

// OpenIn is Open for the file that is called name below root. A link at name is followed as
// long as it stays below root.
func OpenIn(root *os.Root, name string, mode fs.FileMode) (*os.File, error) {
	return root.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|nonblock, mode)
}
