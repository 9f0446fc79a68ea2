package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// supported is nil where the daemon has a VM driver.
func supported() error { return nil }

// cgroupDriver says whether the kubelet of this host asks for one.
const cgroupDriver = true

// lockFile takes the lock at path until the returned file is closed, which also happens
// when the process dies. errRunning when another process has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, errRunning)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// listenPrivately makes a unix socket that only its owner can connect to from its first
// moment. The umask is the process's: this is called before anything else runs.
func listenPrivately(path string) (net.Listener, error) {
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	return net.Listen("unix", path)
}

// freeBytes is what is left for the user on dir's file system.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// kvmGroup is the group of KVM's device when the group may use it and is not root's.
func kvmGroup() (gid uint32, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat("/dev/kvm", &st); err != nil || st.Gid == 0 || st.Mode&0o060 != 0o060 {
		return 0, false
	}
	return st.Gid, true
}
