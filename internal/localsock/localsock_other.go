//go:build !linux && !windows

package localsock

import (
	"context"
	"errors"
	"net"
)

// MaxPath is the longest path of a socket, in bytes. 0: no bound.
const MaxPath = 0

func listen(context.Context, string) (net.Listener, error) { return nil, errors.ErrUnsupported }

func dial(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }

func server(net.Conn) (int, error) { return 0, errors.ErrUnsupported }
