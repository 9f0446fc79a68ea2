//go:build !linux && !windows

package appendfile

import (
	"errors"
	"io/fs"
	"os"
)

func open(string, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }
