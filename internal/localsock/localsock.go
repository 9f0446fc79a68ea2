package localsock

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
)

// Listen makes the socket named by an absolute path. What is at the path is not replaced:
// fs.ErrExist.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	return listen(ctx, path)
}

// Dial connects to the socket named by a path. fs.ErrPermission when somebody else listens
// in its place, fs.ErrNotExist when nobody does and, on Linux, nobody has.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	return dial(ctx, path)
}

// DialPipe connects to a pipe by its name, as an anonymous client, in whose name the server
// can do nothing. fs.ErrPermission when neither SYSTEM nor an Administrator nor this user
// made the pipe, errors.ErrUnsupported where there are no such pipes.
func DialPipe(ctx context.Context, name string) (net.Conn, error) {
	conn, err := dialPipe(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("connect to pipe %s: %w", name, err)
	}
	return conn, nil
}

// CheckPath says why a path cannot name a socket, if it cannot.
func CheckPath(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("path %s of a socket is not absolute", path)
	}
	if n := len(path); MaxPath > 0 && n > MaxPath {
		return fmt.Errorf("path %s of a socket has %d bytes, the system takes %d: choose a shorter state folder",
			path, n, MaxPath)
	}
	return nil
}

// Server tells the number of the process that listens at the other end of a connection
// that Dial made.
func Server(conn net.Conn) (pid int, err error) {
	pid, err = server(conn)
	if err != nil {
		return 0, fmt.Errorf("find the process that listens: %w", err)
	}
	return pid, nil
}

// PipeConfig says what pipe ListenPipe makes.
type PipeConfig struct {
	Descriptor string // who may connect, in SDDL
	Buffer     int    // what it holds each way, in bytes; 0: nothing, each write waits for a reader
	Halves     bool   // connections have CloseWrite; clients have to know how
}

// ListenPipe makes a named pipe for clients of this host. It makes its first instance, so
// that no other process has made the pipe before and takes some of the clients: fs.ErrExist
// when one has. errors.ErrUnsupported where there are no such pipes.
func ListenPipe(name string, c PipeConfig) (net.Listener, error) {
	l, err := listenPipe(name, c)
	if err != nil {
		return nil, fmt.Errorf("listen on pipe %s: %w", name, err)
	}
	return l, nil
}
