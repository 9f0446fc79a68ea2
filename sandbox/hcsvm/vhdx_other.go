//go:build !windows

package hcsvm

import "errors"

func createVHDX(string, uint64) error { return errors.ErrUnsupported }
