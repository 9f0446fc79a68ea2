package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/filelock"
)

// lockFile takes a lock that ends with the process.
func lockFile(path string) (*os.File, error) {
	f, err := filelock.Take(path)
	var notOpened *fs.PathError
	switch {
	case errors.Is(err, filelock.ErrHeld):
		return nil, fmt.Errorf("%s is locked by another process: %w", path, errdefs.ErrFailedPrecondition)
	case errors.As(err, &notOpened): // names the path
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
