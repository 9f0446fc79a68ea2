package disk

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/usage"
)

// What linux/fs.h and linux/quota.h have and x/sys has not.
const (
	fsGetXattr      = 0x801c581f // FS_IOC_FSGETXATTR
	fsSetXattr      = 0x401c5820 // FS_IOC_FSSETXATTR
	flagProjInherit = 0x200      // FS_XFLAG_PROJINHERIT
	getProjectQuota = 0x800007<<8 | 2
)

// fsxattr is struct fsxattr.
type fsxattr struct {
	flags, extSize, extents, project, cowExtSize uint32
	_                                            [8]byte
}

// dqblk is struct if_dqblk.
type dqblk struct {
	hardBytes, softBytes, bytes, hardInodes, softInodes, inodes, bytesTime, inodesTime uint64
	valid                                                                              uint32
}

// SetProject makes what is made below dir, which is empty, count for a project. On a
// file system that does not count it does nothing.
func (d *Disks) SetProject(dir string, project uint32) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("set project: %w", err)
	}
	defer f.Close()
	var a fsxattr
	if err := ioctl(f, fsGetXattr, &a); err != nil {
		if unsupported(err) {
			return nil
		}
		return fmt.Errorf("read project of %s: %w", dir, err)
	}
	a.flags |= flagProjInherit
	a.project = project
	if err := ioctl(f, fsSetXattr, &a); err != nil && !unsupported(err) {
		return fmt.Errorf("set project of %s: %w", dir, err)
	}
	return nil
}

// Usage is what a project takes of the file system that dir is on; nil when it does not
// count.
func (d *Disks) Usage(dir string, project uint32) (*usage.Writable, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	defer f.Close()
	var q dqblk
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), getProjectQuota, uintptr(project), uintptr(unsafe.Pointer(&q)), 0, 0)
	if errno != 0 {
		if unsupported(errno) {
			return nil, nil
		}
		return nil, fmt.Errorf("read usage of project %d: %w", project, errno)
	}
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return nil, fmt.Errorf("read size of file system: %w", err)
	}
	return &usage.Writable{
		At: time.Now(), Bytes: q.bytes, Inodes: q.inodes,
		CapacityBytes: s.Blocks * uint64(s.Bsize), CapacityInodes: s.Files, FreeInodes: s.Ffree,
	}, nil
}

func ioctl(f *os.File, request uintptr, a *fsxattr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(a))); errno != 0 {
		return errno
	}
	return nil
}

// unsupported says whether err is a file system's that counts no projects.
func unsupported(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESRCH)
}
