//go:build !windows

package hcsvm

import (
	"errors"
	"syscall"
)

func createVHDX(string, uint64) error { return errors.ErrUnsupported }

func isDiskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
