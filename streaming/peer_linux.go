package streaming

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// States of include/net/tcp_states.h in which the peer has closed.
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// peerClosed asks the kernel, without reading, whether the peer closed the connection.
func peerClosed(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err == nil && (info.State == tcpClose || info.State == tcpCloseWait)
	})
	return closed || err != nil
}
