//go:build !windows

package main

import (
	"errors"
	"fmt"

	"github.com/porthole-run/porthole/cmd/porthole/setup"
)

func setupConfig() (setup.Config, error) {
	return setup.Config{}, fmt.Errorf("setup is for Windows; `make install` installs here: %w", errors.ErrUnsupported)
}
