//go:build !linux

package memfile

import (
	"errors"
	"os"
)

func newFile(string, int64) (*os.File, error) { return nil, errors.ErrUnsupported }
func seal(*os.File) error                     { return errors.ErrUnsupported }
func dup(*os.File) (*os.File, error)          { return nil, errors.ErrUnsupported }
func allocated(*os.File) (int64, error)       { return 0, errors.ErrUnsupported }
