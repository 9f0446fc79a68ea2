//go:build !windows

package etw

import (
	"errors"
	"fmt"
)

func open() (*Provider, error) {
	return nil, fmt.Errorf("event tracing for windows: %w", errors.ErrUnsupported)
}
