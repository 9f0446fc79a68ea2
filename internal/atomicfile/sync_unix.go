//go:build unix

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
)

func setMode(f *os.File, perm fs.FileMode) error { return f.Chmod(perm) }

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
