package appendfile

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// open does not follow a link, and O_NONBLOCK keeps a FIFO at path from
// blocking the open; for a regular file it means nothing.
const nonblock = unix.O_NONBLOCK

func open(path string, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
}
