//go:build !windows

package hcsvm

import (
	"errors"
	"fmt"
	"net"
)

func listenPipe(path, _ string) (net.Listener, error) {
	return nil, fmt.Errorf("listen on %s: %w", path, errors.ErrUnsupported)
}
