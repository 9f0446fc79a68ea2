package sparsefile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextData finds the first piece of a file from at on that is no hole. None: it is empty and
// at size.
func nextData(f *os.File, at, size int64) (start, end int64, err error) {
	start, err = f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL): // a file system that knows no holes
		return at, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	return start, min(end, size), err
}
