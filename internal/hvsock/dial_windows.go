package hvsock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
	"unsafe"

	"github.com/Microsoft/go-winio"
	"github.com/Microsoft/go-winio/pkg/guid"
	"golang.org/x/sys/windows"
)

// Facts of hvsocket.h.
const (
	afHyperV         = 34   // AF_HYPERV
	protocolRaw      = 1    // HV_PROTOCOL_RAW; also the level of its options
	connectTimeout   = 0x01 // HVSOCKET_CONNECT_TIMEOUT, in ms
	netnameDeleted   = windows.Errno(windows.ERROR_NETNAME_DELETED)
	connectionAborts = windows.Errno(windows.ERROR_CONNECTION_ABORTED)
)

// bufferBytes is the size of a connection's buffers, the most that hv_sock in the guest
// takes too: Windows' own are small for files.
const bufferBytes = 256 << 10

// sockaddr is SOCKADDR_HV.
type sockaddr struct {
	family, _ uint16
	vm        guid.GUID
	service   guid.GUID
}

// dial connects a socket of our own, since go-winio's dialer sets no options before it
// connects and does not end with a context, and leaves the reading and writing to go-winio.
func dial(vmID string, port uint32, limit time.Duration) (Conn, error) {
	vm, err := guid.FromString(vmID)
	if err != nil {
		return nil, err
	}
	s, err := windows.Socket(afHyperV, windows.SOCK_STREAM, protocolRaw)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := connectSocket(s, vm, port, limit); err != nil {
		_ = windows.Closesocket(s)
		return nil, err
	}
	f, err := winio.NewOpenFile(s)
	if err != nil {
		_ = windows.Closesocket(s)
		return nil, err
	}
	return &conn{file: f.(file), socket: s, remote: addr{vmID, port}}, nil
}

func connectSocket(s windows.Handle, vm guid.GUID, port uint32, limit time.Duration) error {
	for _, o := range []struct {
		name       string
		level, opt int
		value      int
	}{
		{"SO_SNDBUF", windows.SOL_SOCKET, windows.SO_SNDBUF, bufferBytes},
		{"SO_RCVBUF", windows.SOL_SOCKET, windows.SO_RCVBUF, bufferBytes},
		{"HVSOCKET_CONNECT_TIMEOUT", protocolRaw, connectTimeout, int(limit.Milliseconds())},
	} {
		if err := windows.SetsockoptInt(s, o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	a := sockaddr{family: afHyperV, vm: vm, service: winio.VsockServiceID(port)}
	err := connect(s, unsafe.Pointer(&a), int32(unsafe.Sizeof(a)))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, windows.WSAECONNREFUSED), errors.Is(err, windows.WSAETIMEDOUT),
		errors.Is(err, windows.WSAENETUNREACH), errors.Is(err, windows.WSAEHOSTUNREACH), errors.Is(err, windows.WSAENETDOWN):
		return fmt.Errorf("%w: %w", ErrRefused, os.NewSyscallError("connect", err))
	}
	return os.NewSyscallError("connect", err)
}

// file is what go-winio makes of a handle.
type file interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// conn is a connected socket.
type conn struct {
	file
	socket windows.Handle
	remote addr
}

// Read gives a socket that was reset, which ReadFile tells in the words of files, its own error.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := c.file.Read(b)
	return n, socketError(err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.file.Write(b)
	return n, socketError(err)
}

func socketError(err error) error {
	if errors.Is(err, netnameDeleted) || errors.Is(err, connectionAborts) {
		return fmt.Errorf("%w: %w", windows.WSAECONNRESET, err)
	}
	return err
}

func (c *conn) CloseWrite() error {
	return os.NewSyscallError("shutdown", windows.Shutdown(c.socket, windows.SHUT_WR))
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) LocalAddr() net.Addr  { return addr{} }
func (c *conn) RemoteAddr() net.Addr { return c.remote }
