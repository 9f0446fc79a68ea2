//go:build !windows

package localsock

import (
	"context"
	"errors"
	"net"
)

func dialPipe(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }

func listenPipe(string, PipeConfig) (net.Listener, error) { return nil, errors.ErrUnsupported }
