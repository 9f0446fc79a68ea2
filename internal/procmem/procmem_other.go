//go:build !linux && !windows

package procmem

import "errors"

// Held is not built for this system.
func Held(int) (uint64, error) { return 0, errors.ErrUnsupported }

// Available is not built for this system.
func Available() (uint64, error) { return 0, errors.ErrUnsupported }
