package hostfs

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share/posix"
)

// toErrno gives a system call's error as the contract wants it. The numbers are the same
// on all of Linux's architectures that a guest may have.
func toErrno(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[unix.Errno](err); ok {
		if e == unix.EMFILE {
			return posix.ENFILE // the server's limit, not one of the guest's process
		}
		return posix.Errno(e)
	}
	return posix.EIO
}

// again calls f until no signal interrupts it: the runtime sends itself signals, and a
// file system of a network may answer EINTR to any call.
func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return toErrno(err)
		}
	}
}

// againFD is again for calls that return a descriptor.
func againFD(f func() (int, error)) (int, error) {
	for {
		fd, err := f()
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, toErrno(err)
		}
		return fd, nil
	}
}

const statxMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID

// statFD returns the attributes of an open file.
func statFD(fd int) (st unix.Statx_t, err error) {
	err = again(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, statxMask, &st)
	})
	return st, err
}

// statName returns the attributes of what a folder has under a name.
func statName(dir int, name string) (st unix.Statx_t, err error) {
	err = again(func() error {
		return unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, statxMask, &st)
	})
	return st, err
}

// openChild opens a name in a folder with the given flags. It is the one way by which
// names reach the kernel for an open.
func openChild(dir int, name string, flags uint64, mode uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Mode:    mode,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for tries := 0; ; tries++ {
		fd, err := againFD(func() (int, error) { return unix.Openat2(dir, name, &how) })
		// EAGAIN: something in the mount tree moved while the kernel looked.
		if err == posix.EAGAIN && tries < 64 {
			continue
		}
		return fd, err
	}
}

// checkName refuses what is not one component. Callers have checked; this costs little,
// and not every system call has RESOLVE_BENEATH.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return posix.EINVAL
	case len(name) > posix.NAME_MAX:
		return posix.ENAMETOOLONG
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return posix.EINVAL
	}
	return nil
}

// A procFD is /proc/self/fd. Opening a descriptor's entry there opens the very file
// that the descriptor has, whatever its name is now: there is nothing to race with.
type procFD struct{ fd int }

func openProcFD() (procFD, error) {
	fd, err := againFD(func() (int, error) {
		return unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return procFD{-1}, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		unix.Close(fd)
		return procFD{-1}, posix.ENODEV
	}
	return procFD{fd}, nil
}

// reopen opens the file of an O_PATH descriptor anew.
func (p procFD) reopen(fd int, flags int) (int, error) {
	return againFD(func() (int, error) {
		return unix.Openat(p.fd, strconv.Itoa(fd), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	})
}

// chmod sets the mode of an O_PATH descriptor's file, which must not be a symbolic link.
func (p procFD) chmod(fd int, mode uint32) error {
	return again(func() error { return unix.Fchmodat(p.fd, strconv.Itoa(fd), mode, 0) })
}

// link gives an O_PATH descriptor's file one more name.
func (p procFD) link(fd, dir int, name string) error {
	return again(func() error {
		return unix.Linkat(p.fd, strconv.Itoa(fd), dir, name, unix.AT_SYMLINK_FOLLOW)
	})
}

// procPath is a descriptor's entry as a path, for the calls that take nothing else
// (those of extended attributes, and inotify's).
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func closeFD(fd int) {
	if fd >= 0 {
		// Only descriptors that wrote something can fail here, and file.Close tells of it.
		_ = unix.Close(fd)
	}
}
