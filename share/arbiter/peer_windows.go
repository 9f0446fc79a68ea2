package arbiter

import (
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// sioPeerPID is SIO_AF_UNIX_GETPEERPID of afunix.h.
const sioPeerPID = 0x58000100

// endPeer kills the process at the other end of a connection.
func endPeer(nc net.Conn) error {
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var pid, n uint32
	if cerr := raw.Control(func(fd uintptr) {
		err = windows.WSAIoctl(windows.Handle(fd), sioPeerPID, nil, 0, (*byte)(unsafe.Pointer(&pid)), uint32(unsafe.Sizeof(pid)), &n, nil, 0)
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("find the arbiter's process: %w", err)
	}
	p, err := os.FindProcess(int(pid))
	if err != nil {
		return fmt.Errorf("find the arbiter's process: %w", err)
	}
	defer p.Release()
	return p.Kill()
}
