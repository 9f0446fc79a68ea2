//go:build !linux

package shim

import (
	"errors"
	"net"
)

func unread(net.Conn) (int, error) { return 0, errors.ErrUnsupported }
