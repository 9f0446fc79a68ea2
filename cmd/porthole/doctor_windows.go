package main

import (
	"context"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/winhost"
)

// examine makes all checks.
func examine(ctx context.Context, c config.Config, _ bool) ([]finding, error) {
	facts, err := winhost.Gather(ctx, places(c))
	if err != nil {
		return nil, err
	}
	return examineWindows(ctx, c, facts), nil
}
