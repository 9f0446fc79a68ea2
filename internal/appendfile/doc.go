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
