//go:build !windows

package main

import (
	"context"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// examine makes all checks.
func examine(ctx context.Context, c config.Config, probe bool) ([]finding, error) {
	return examineQEMU(ctx, c, probe)
}
