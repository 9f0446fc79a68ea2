package localsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxPath is the longest path of a socket, in bytes: sun_path less its NUL. 0: no bound.
const MaxPath = 107

// listen makes a unix socket that only its owner can connect to from its first moment:
// Linux gives the file that bind makes the mode that the socket has. The umask, which
// would do the same, is the whole process's.
func listen(ctx context.Context, path string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}
	l, err := lc.Listen(ctx, "unix", path)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrExist)
	}
	return l, err
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

func server(conn net.Conn) (int, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return 0, cerr
	}
	if err != nil {
		return 0, err
	}
	if cred.Pid <= 1 { // of another PID namespace
		return 0, errors.ErrUnsupported
	}
	return int(cred.Pid), nil
}
