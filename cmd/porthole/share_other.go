//go:build !linux && !windows

package main

import (
	"fmt"

	"github.com/porthole-run/porthole/share"
)

func openShare(dir string) (share.Backend, string, error) {
	return nil, "", fmt.Errorf("share folder %s: %w", dir, supported())
}
