package crun

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Seal copies the program at path into memory that nobody can change any more, and
// returns the file to keep open and the path to run it by.
//
// crun makes such a copy of itself at each call unless it runs from one, so that a
// container cannot overwrite the host's crun through /proc/self/exe (CVE-2019-5736).
// One copy for the VM's life protects as well. It also saves an emulator from
// translating a new copy's code at each call: that took 0.4 s of CPU a call under TCG.
func Seal(path string) (f *os.File, run string, err error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("seal program: %w", err)
	}
	fd, err := unix.MemfdCreate("crun", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, "", fmt.Errorf("seal %s: memfd_create: %w", path, err)
	}
	f = os.NewFile(uintptr(fd), path)
	if _, err := f.Write(program); err != nil {
		f.Close()
		return nil, "", fmt.Errorf("seal %s: %w", path, err)
	}
	// What crun itself checks for: all four.
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, "", fmt.Errorf("seal %s: %w", path, err)
	}
	return f, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), nil
}
