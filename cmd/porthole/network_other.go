//go:build !windows

package main

import (
	"log/slog"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// networkHost is nil where the network package's own does.
func networkHost(config.Config, *slog.Logger) (*hcnnet.Host, error) { return nil, nil }
