//go:build !linux && !windows

package arbiter

import (
	"errors"
	"net"
)

func endPeer(net.Conn) error { return errors.ErrUnsupported }
