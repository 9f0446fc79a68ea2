//go:build !windows

package hvsock

import (
	"errors"
	"time"
)

func dial(string, uint32, time.Duration) (Conn, error) { return nil, errors.ErrUnsupported }
