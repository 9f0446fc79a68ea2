package appendfile

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// nonblock keeps a FIFO from blocking the open; for a regular file it means nothing.
const nonblock = unix.O_NONBLOCK

// open does not follow a link.
func open(path string, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|nonblock, mode)
}
