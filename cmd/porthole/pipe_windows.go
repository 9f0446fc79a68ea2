package main

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// startCommand starts the daemon.
const startCommand = "porthole service start"

// adminEndpoint is a pipe of the state folder's own: pipes have names, not places.
func adminEndpoint(c config.Config) config.Endpoint {
	sum := sha256.Sum256([]byte(strings.ToLower(filepath.Clean(c.State))))
	return config.Endpoint{Kind: config.Pipe, Address: `\\.\pipe\porthole-admin-` + hex.EncodeToString(sum[:8])}
}
