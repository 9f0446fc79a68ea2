//go:build !windows

package main

import (
	"path/filepath"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// startCommand starts the daemon.
const startCommand = "systemctl start porthole"

// adminEndpoint is a socket in the state folder.
func adminEndpoint(c config.Config) config.Endpoint {
	return config.Endpoint{Kind: config.Unix, Address: filepath.Join(c.State, "admin.sock")}
}
