package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/internal/busyfile"
)

// tempPrefix starts the names of unfinished files, so that Clean knows them.
const tempPrefix = ".atomic-"

// Write replaces the content of path, making the file with permissions perm if need
// be. The folder must exist. When Write returns nil the content survives a power cut.
// On error path is as it was.
func Write(path string, data []byte, perm fs.FileMode) error {
	if err := replace(path, data, perm, (*os.File).Sync); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Replace is Write for what nobody wants after a power cut: it does not wait for the disk.
// Path may then be as it was, empty or gone.
func Replace(path string, data []byte, perm fs.FileMode) error {
	return replace(path, data, perm, func(*os.File) error { return nil })
}

func replace(path string, data []byte, perm fs.FileMode, sync func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, tempPrefix+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, errors.Join(err, ignoreNotExist(os.Remove(f.Name()))))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = setMode(f, perm)
	}
	if err == nil {
		err = sync(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		// Another process may have the file open, or rename one to it too.
		err = busyfile.Retry(func() error { return os.Rename(f.Name(), path) })
	}
	return err
}

// Clean removes what Write left in dir when it was cut short. Nothing may be writing
// in dir meanwhile.
func Clean(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clean %s: %w", dir, err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			errs = append(errs, ignoreNotExist(os.Remove(filepath.Join(dir, e.Name()))))
		}
	}
	return errors.Join(errs...)
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
