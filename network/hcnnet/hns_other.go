//go:build !windows

package hcnnet

import (
	"errors"
	"fmt"
)

// SystemHNS is not there outside of Windows: the error is errors.ErrUnsupported.
func SystemHNS() (HNS, error) {
	return nil, fmt.Errorf("find the host network service: %w", errors.ErrUnsupported)
}
