//go:build !linux

package main

import (
	"context"
	"errors"
	"net"
)

func serveOne(context.Context, string, net.Conn) error { return errors.ErrUnsupported }
