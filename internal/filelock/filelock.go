package filelock

import (
	"errors"
	"os"
)

// ErrHeld is that another process, or another Take, has the lock.
var ErrHeld = errors.New("locked by another process")

// Take takes the lock at path without waiting, and makes the file when it is not there.
// The lock lasts until the returned file is closed. ErrHeld when another has it.
func Take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
