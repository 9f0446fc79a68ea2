//go:build !linux && !windows

package main

import (
	"errors"
	"fmt"
	"runtime"
)

func supported() error {
	return fmt.Errorf("there is no VM driver for %s yet: %w", runtime.GOOS, errors.ErrUnsupported)
}

func cgroupDriver(string) string { return "" }

func freeBytes(string) (uint64, error) { return 0, supported() }

func sameFileSystem(string, string) (bool, error) { return false, supported() }

func kvmDevice() device { return device{} }

func kvmGroup() (gid uint32, ok bool) { return 0, false }
