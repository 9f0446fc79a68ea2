package endpoint

import (
	"context"
	"fmt"
	"net"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"github.com/containerd/errdefs"
)

// dialPipe connects to a pipe whose owner is the system or its administrators. Any user
// can make a pipe of a name that nobody has at the moment; what such a one says about
// rights must not be believed. winio connects as an anonymous client, so that the
// server can do nothing in our name.
func dialPipe(ctx context.Context, name string) (net.Conn, error) {
	conn, err := winio.DialPipeContext(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := trusted(conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("pipe %s: %w", name, err)
	}
	return conn, nil
}

func trusted(conn net.Conn) error {
	f, ok := conn.(interface{ Fd() uintptr })
	if !ok {
		return fmt.Errorf("its handle is not to be had: %w", errdefs.ErrInternal)
	}
	sd, err := windows.GetSecurityInfo(windows.Handle(f.Fd()), windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("ask for its owner: %w", err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("read its owner: %w", err)
	}
	if owner != nil && (owner.IsWellKnown(windows.WinLocalSystemSid) || owner.IsWellKnown(windows.WinBuiltinAdministratorsSid)) {
		return nil
	}
	return fmt.Errorf("belongs to %s, neither to the system nor to its administrators: %w", owner, errdefs.ErrPermissionDenied)
}
