//go:build !linux

package sharetest

import (
	"context"
	"errors"

	"github.com/porthole-run/porthole/share"
)

// MountDir serves a share and mounts it on dir. It works on Linux.
func MountDir(context.Context, share.Config, string) (unmount func() error, err error) {
	return nil, errors.ErrUnsupported
}
