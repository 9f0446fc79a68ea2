//go:build !linux && !windows

package shim

import (
	"errors"
	"io/fs"
	"os"

	"github.com/porthole-run/porthole/guest"
)

func lockFile(*os.File, bool) error { return errors.ErrUnsupported }

func openPath(f *os.File) string { return f.Name() }

func fileName(*os.File) (string, error) { return "", errors.ErrUnsupported }

func rootOf(fs.FileInfo) *guest.DiskRoot { return nil }
