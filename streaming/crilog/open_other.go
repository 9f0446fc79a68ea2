//go:build !linux && !windows

package crilog

import (
	"errors"
	"io/fs"
	"os"
)

func openAppend(string, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }
