package shim

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest"
)

// scratchVolume is the name of a scratch disk in its folder: the disk's bytes alone. volumeFlags open a disk that
// is to be written.
const (
	scratchVolume = ".porthole-scratch.img"
	volumeFlags   = os.O_RDWR
)

// lockFile locks a file for who has it open, without waiting.
func lockFile(f *os.File, alone bool) error {
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	return unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
}

// openPath is a path in this process that leads to an open file whatever its name is now.
func openPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// fileName names a file whatever path it was opened by.
func fileName(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%x-%x", st.Dev, st.Ino), nil
}

// rootOf is the owner and the permissions of a folder.
func rootOf(info fs.FileInfo) *guest.DiskRoot {
	st := info.Sys().(*syscall.Stat_t)
	return &guest.DiskRoot{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
}
