package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// bufferBytes is the most that hv_sock takes for one direction of a connection.
const bufferBytes = 256 << 10

// VsockListener takes connections to one AF_VSOCK port.
type VsockListener struct {
	port uint32
	f    *os.File
}

// ListenVsock listens on an AF_VSOCK port. On Hyper-V the host reaches it by the
// service GUID that carries the port.
func ListenVsock(port uint32) (*VsockListener, error) {
	return listen(unix.AF_VSOCK, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}, port)
}

func listen(family int, addr unix.Sockaddr, port uint32) (*VsockListener, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: socket: %w", port, err)
	}
	// hv_sock sizes a connection's rings by these when it is made: its default of 24 KiB
	// is little for files. A family that has no use for them does without.
	for _, opt := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, bufferBytes)
	}
	if err := unix.Bind(fd, addr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on port %d: bind: %w", port, err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	return &VsockListener{port: port, f: os.NewFile(uintptr(fd), "vsock")}, nil
}

// Serve hands each connection to h on a goroutine of its own until ctx ends, waits for
// them, and closes the listener. The handlers' context is ctx.
func (l *VsockListener) Serve(ctx context.Context, h Handler) error {
	defer l.f.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { l.f.SetDeadline(time.Now()) })
	defer stop()
	raw, err := l.f.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var fd int
		var acceptErr error
		err := raw.Read(func(lfd uintptr) bool {
			fd, _, acceptErr = unix.Accept4(int(lfd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(acceptErr, unix.EAGAIN)
		})
		if ctx.Err() != nil {
			if err == nil && acceptErr == nil {
				unix.Close(fd)
			}
			return ctx.Err()
		}
		if errors.Is(acceptErr, unix.EINTR) || errors.Is(acceptErr, unix.ECONNABORTED) {
			continue
		}
		if err = errors.Join(err, acceptErr); err != nil {
			return fmt.Errorf("accept on port %d: %w", l.port, err)
		}
		c := &socketConn{File: os.NewFile(uintptr(fd), "vsock"), port: l.port}
		wg.Go(func() { h(ctx, l.port, c) })
	}
}

// socketConn is a connected stream socket of a family that package net does not know.
type socketConn struct {
	*os.File
	port   uint32
	broken atomic.Bool
}

// Read notes when the connection was cut. Its own end is no error.
func (c *socketConn) Read(b []byte) (int, error) { return c.note(c.File.Read(b)) }

// Write is Read's twin.
func (c *socketConn) Write(b []byte) (int, error) { return c.note(c.File.Write(b)) }

func (c *socketConn) note(n int, err error) (int, error) {
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ETIMEDOUT) {
		c.broken.Store(true)
	}
	return n, err
}

// Broken implements stdio.Breaker: the host did not end the connection, but is gone.
func (c *socketConn) Broken() bool { return c.broken.Load() }

// Take returns the descriptor, for one who is to have all of the connection.
func (c *socketConn) Take() *os.File { return c.File }

func (c *socketConn) CloseWrite() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var shutErr error
	err = raw.Control(func(fd uintptr) { shutErr = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, shutErr)
}

func (c *socketConn) LocalAddr() net.Addr  { return vsockAddr(c.port) }
func (c *socketConn) RemoteAddr() net.Addr { return vsockAddr(0) }

// vsockAddr is a port of this VM, or 0 for the host.
type vsockAddr uint32

func (a vsockAddr) Network() string { return "vsock" }
func (a vsockAddr) String() string {
	if a == 0 {
		return "host"
	}
	return fmt.Sprintf("guest:%d", uint32(a))
}
