//go:build !windows

package hcs

import (
	"errors"
	"fmt"
)

func openLibrary() (Library, error) {
	return nil, fmt.Errorf("load computecore.dll: %w", errors.ErrUnsupported)
}
