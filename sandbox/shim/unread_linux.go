package shim

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unread is how many bytes of what was written to a unix socket the other end has not read.
func unread(c net.Conn) (int, error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("a %T is no socket: %w", c, errors.ErrUnsupported)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var callErr error
	err = raw.Control(func(fd uintptr) { n, callErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, errors.Join(err, callErr)
}
