package main

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// supported is nil where the daemon has a VM driver.
func supported() error { return nil }

func cgroupDriver(string) string { return "" }

// freeBytes is what is left for the user on dir's volume.
func freeBytes(dir string) (uint64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("measure volume of %s: %w", dir, err)
	}
	return free, nil
}

// sameFileSystem tells whether two folders are on one volume.
func sameFileSystem(a, b string) (bool, error) {
	var volumes [2]string
	for i, dir := range []string{a, b} {
		p, err := windows.UTF16PtrFromString(dir)
		if err != nil {
			return false, err
		}
		var buf [windows.MAX_LONG_PATH]uint16
		if err := windows.GetVolumePathName(p, &buf[0], uint32(len(buf))); err != nil {
			return false, fmt.Errorf("find volume of %s: %w", dir, err)
		}
		volumes[i] = windows.UTF16ToString(buf[:])
	}
	return volumes[0] == volumes[1], nil
}

func kvmDevice() device { return device{} }

func kvmGroup() (gid uint32, ok bool) { return 0, false }
