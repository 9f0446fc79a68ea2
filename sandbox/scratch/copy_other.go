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

func isDiskFull(error) bool { return false }
