package shim

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"

	"github.com/porthole-run/porthole/guest"
)

// scratchVolume is the name of a scratch disk in its folder: a VHD, as Hyper-V attaches no other. volumeFlags open a
// disk that is to be written: who writes it is the VM, and its worker may not share that.
const (
	scratchVolume = ".porthole-scratch.vhd"
	volumeFlags   = os.O_RDONLY
)

// lockedAt is the one byte that is locked: far past any disk's end, since locks of
// Windows keep others from what they cover.
const lockedAt = 1 << 62

// lockFile locks a file for who has it open, without waiting.
func lockFile(f *os.File, alone bool) error {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if alone {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: lockedAt >> 32})
}

// openPath is a path that leads to an open file: nobody replaces or renames it as long as
// Go has it open, since Go shares neither.
func openPath(f *os.File) string { return f.Name() }

// fileName names a file whatever path it was opened by.
func fileName(f *os.File) (string, error) {
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x-%x%08x", info.VolumeSerialNumber, info.FileIndexHigh, info.FileIndexLow), nil
}

// rootOf is nil: a folder's owner on Windows says nothing of one in the guest.
func rootOf(fs.FileInfo) *guest.DiskRoot { return nil }
