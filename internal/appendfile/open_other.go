//go:build !linux && !windows

package appendfile

import (
	"errors"
	"io/fs"
	"os"
)

const nonblock = 0

func open(string, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }
