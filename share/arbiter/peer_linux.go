package arbiter

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// endPeer kills the process that listens at the other end of a connection.
func endPeer(nc net.Conn) error {
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("find the arbiter's process: %w", err)
	}
	if cred.Pid <= 1 { // of another PID namespace
		return fmt.Errorf("find the arbiter's process: %w", errors.ErrUnsupported)
	}
	return unix.Kill(int(cred.Pid), unix.SIGKILL)
}
