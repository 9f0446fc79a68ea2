//go:build !windows

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/selftest"
)

func newLab(context.Context, config.Config, bool) (selftest.Lab, []selftest.Fact, error) {
	return selftest.Lab{}, nil, fmt.Errorf("selftest is of a Windows host (selftest --list has the rows; share selftest is of any): %w", errors.ErrUnsupported)
}
