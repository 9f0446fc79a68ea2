package cgroup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// markName is the attribute of groups that are ours. Attributes of this class take
// CAP_SYS_ADMIN, and all kernels have them on control groups.
const markName = "trusted.porthole"

// supported: this system has control groups.
const supported = true

// system is the running kernel.
type system struct{}

// mark does without a mark where there cannot be one: the group then stays.
func (system) mark(dir string) error {
	err := unix.Setxattr(dir, markName, []byte("1"), 0)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

func (system) marked(dir string) bool {
	n, err := unix.Getxattr(dir, markName, nil)
	return err == nil && n > 0
}

// remove leaves the files in the group's folder to the kernel, whose they are.
func (system) remove(dir string) error {
	if err := unix.Rmdir(dir); err != nil {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
