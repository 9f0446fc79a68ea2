//go:build !windows

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// startCommand starts the daemon.
const startCommand = "systemctl start porthole"

func listenPipe(name, _ string) (net.Listener, error) {
	return nil, fmt.Errorf("listen on pipe %s: %w", name, errors.ErrUnsupported)
}

func dialPipe(_ context.Context, name string) (net.Conn, error) {
	return nil, fmt.Errorf("connect to pipe %s: %w", name, errors.ErrUnsupported)
}

// adminEndpoint is a socket in the state folder.
func adminEndpoint(c config.Config) config.Endpoint {
	return config.Endpoint{Kind: config.Unix, Address: filepath.Join(c.State, "admin.sock")}
}
