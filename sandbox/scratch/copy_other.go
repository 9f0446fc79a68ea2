//go:build !linux

package scratch

import (
	"errors"
	"fmt"
	"os"
)

func copySparse(*os.File, *os.File) error {
	return fmt.Errorf("copy scratch template: %w", errors.ErrUnsupported)
}

func allocated(fi os.FileInfo) uint64 { return uint64(fi.Size()) }
