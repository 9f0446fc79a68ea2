package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/windows"
)

// supported says what the daemon lacks here. A shim, which needs no more than a VM driver,
// runs.
func supported() error {
	return fmt.Errorf("the daemon does not run on Windows yet: its parts are built, but have not run together: %w",
		errors.ErrUnsupported)
}

const cgroupDriver = false

// listenPrivately makes a unix socket, which has the access list that its folder hands down.
func listenPrivately(ctx context.Context, path string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", path)
}

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
