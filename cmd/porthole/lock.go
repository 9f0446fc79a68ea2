package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/porthole-run/porthole/internal/filelock"
)

// lockFile takes the lock at path until the returned file is closed, which also happens
// when the process dies. errRunning when another process has it.
func lockFile(path string) (*os.File, error) {
	f, err := filelock.Take(path)
	var notOpened *fs.PathError
	switch {
	case errors.Is(err, filelock.ErrHeld):
		return nil, fmt.Errorf("lock %s: %w", path, errRunning)
	case errors.As(err, &notOpened): // names the path
		return nil, fmt.Errorf("lock: %w", err)
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
