//go:build !linux && !windows

package hostshare

import (
	"errors"
	"fmt"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
)

var liveFolder sandbox.FolderSource

func openFolder(path string, _ shim.ShareSource) (share.Backend, error) {
	return nil, fmt.Errorf("folder %s: %w", path, errors.ErrUnsupported)
}

func mountsBelow(string) bool { return false }
