package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/cri"
)

// supported is nil where the daemon has a VM driver.
func supported() error { return nil }

// cgroupDriver is the driver that this host's kubelet is to use, for [vm] cgroup_driver.
func cgroupDriver(mode string) string {
	if mode != "auto" {
		return mode
	}
	var st unix.Stat_t
	if err := unix.Lstat("/run/systemd/system", &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR { // sd_booted(3)
		return cri.SystemdDriver
	}
	return cri.CgroupfsDriver
}

// freeBytes is what is left for the user on dir's file system.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// sameFileSystem tells whether two folders are on one file system.
func sameFileSystem(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	for dir, st := range map[string]*unix.Stat_t{a: &sa, b: &sb} {
		if err := unix.Stat(dir, st); err != nil {
			return false, fmt.Errorf("stat %s: %w", dir, err)
		}
	}
	return sa.Dev == sb.Dev, nil
}

// kvmDevice looks at KVM's device.
func kvmDevice() device {
	var st unix.Stat_t
	_, usable := kvmGroup()
	return device{present: unix.Stat("/dev/kvm", &st) == nil, usable: usable}
}

// kvmGroup is the group of KVM's device when the group may use it and is not root's.
func kvmGroup() (gid uint32, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat("/dev/kvm", &st); err != nil || st.Gid == 0 || st.Mode&0o060 != 0o060 {
		return 0, false
	}
	return st.Gid, true
}
