//go:build !windows

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
)

func dialPipe(context.Context, string) (net.Conn, error) {
	return nil, fmt.Errorf("named pipes are Windows': %w", errors.ErrUnsupported)
}
