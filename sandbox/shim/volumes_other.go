//go:build !linux && !windows

package shim

import (
	"errors"
	"io/fs"
	"os"

	"github.com/porthole-run/porthole/guest"
)

// scratchVolume is the name of a scratch disk in its folder: the disk's bytes alone. volumeFlags open a disk that
// is to be written.
const (
	scratchVolume = ".porthole-scratch.img"
	volumeFlags   = os.O_RDWR
)

func lockFile(*os.File, bool) error { return errors.ErrUnsupported }

func openPath(f *os.File) string { return f.Name() }

func fileName(*os.File) (string, error) { return "", errors.ErrUnsupported }

func rootOf(fs.FileInfo) *guest.DiskRoot { return nil }
