//go:build !windows

package ntfs

import (
	"errors"
	"fmt"
)

// Open shows the folder or file at a Win32 path, on Windows; elsewhere it is
// errors.ErrUnsupported.
func Open(path string, _ Options) (*Backend, error) {
	return nil, fmt.Errorf("share folder %s: NTFS: %w", path, errors.ErrUnsupported)
}
