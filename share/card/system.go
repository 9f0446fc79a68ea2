package card

import (
	"time"

	"github.com/porthole-run/porthole/share"
)

// A System is a file system that processes use. It is safe for concurrent use.
type System interface {
	// Start begins a process in a folder, given relative to the system's root; "" is the
	// root itself.
	Start(c Cred, dir string) (Proc, error)
	// Lacks says why a check that needs n cannot run here; "" when it can.
	Lacks(n Need) string
	// Close ends the processes and frees what the system holds.
	Close() error
}

// A Need is something that not every System has.
type Need string

// Needs that checks name.
const (
	NeedMmap    Need = "mmap"    // shared mappings, and O_DIRECT beside them
	NeedDirect  Need = "direct"  // O_DIRECT
	NeedTmpfile Need = "tmpfile" // O_TMPFILE
	NeedSpecial Need = "special" // FIFOs and devices that work when they are opened
	NeedInotify Need = "inotify" // events, which a kernel raises
)

// Cred is who a process acts as.
type Cred struct {
	UID, GID uint32
	Groups   []uint32
	Umask    uint32
}

// A Proc is one process: it owns POSIX locks, file handles, a working folder and a
// umask. Paths are relative to its folder. It does one call at a time; only Interrupt
// and Exit may be called meanwhile. Errors are or wrap posix.Errno.
type Proc interface {
	Namer
	Attributer
	// Open is open(2). For O_CREAT and O_TMPFILE mode counts.
	Open(path string, flags, mode uint32) (File, error)
	// Interrupt ends the call that waits for a lock with EINTR.
	Interrupt()
	// Exit ends the process and so closes what it has open.
	Exit()
}

// Namer has the calls that change and read names.
type Namer interface {
	Mkdir(path string, mode uint32) error
	// Mknod makes any type but folders and symbolic links. dev is packed as posix.Makedev.
	Mknod(path string, mode, dev uint32) error
	Symlink(target, path string) error
	// Link is link(2): it does not follow a symbolic link.
	Link(old, path string) error
	Unlink(path string) error
	Rmdir(path string) error
	Rename(old, path string, flags uint32) error
	Readlink(path string) (string, error)
}

// Attributer has the calls that change and read attributes by path. Those with nofollow
// act on a symbolic link itself when it is set.
type Attributer interface {
	Stat(path string, nofollow bool) (share.Attr, error)
	Chmod(path string, mode uint32) error
	// Chown leaves an id of ^0 as it is.
	Chown(path string, uid, gid uint32, nofollow bool) error
	Truncate(path string, size int64) error
	Utimens(path string, atime, mtime Timespec, nofollow bool) error
	StatFS(path string) (share.StatFS, error)
	Xattrer
}

// Xattrer has the calls for extended attributes. They do not follow a symbolic link.
type Xattrer interface {
	// Getxattr asks for size bytes at most; 0 asks how long the value is, and returns
	// that many zero bytes.
	Getxattr(path, name string, size int) ([]byte, error)
	Setxattr(path, name string, value []byte, flags uint32) error
	Listxattr(path string, size int) ([]string, error)
	Removexattr(path, name string) error
}

// Timespec is a time to set.
type Timespec struct {
	share.Time
	Now, Omit bool
}

// A File is an open file description as a process has it.
type File interface {
	Pread(n int, off int64) ([]byte, error)
	Pwrite(b []byte, off int64) (int, error)
	Read(n int) ([]byte, error)
	Write(b []byte) (int, error)
	Lseek(off int64, whence uint32) (int64, error)
	// Readdir returns the next entries of a folder, a bufferful at a time, with "." and
	// "..". None is the end.
	Readdir() ([]share.DirEntry, error)
	Stat() (share.Attr, error)
	Chmod(mode uint32) error
	Chown(uid, gid uint32) error
	Truncate(size int64) error
	Utimens(atime, mtime Timespec) error
	Sync(dataOnly bool) error
	Fallocate(mode uint32, off, length int64) error
	// CopyTo is copy_file_range(2) with both offsets given.
	CopyTo(to File, off, toOff int64, length int) (int, error)
	// Linkat gives the file a name: linkat(2) with AT_EMPTY_PATH's meaning.
	Linkat(path string) error
	Locker
	// Dup is dup(2): another handle of the same description.
	Dup() (File, error)
	Close() error
}

// Locker has the calls for advisory locks.
type Locker interface {
	// Lock takes, changes or gives back a lock; len 0 is to the end of the file.
	Lock(kind LockKind, typ uint32, start, length int64, wait bool) error
	// GetLock returns the lock that is in the way, typ F_UNLCK when none is.
	GetLock(kind LockKind, typ uint32, start, length int64) (gotType uint32, gotStart, gotLen int64, err error)
	// Flock is flock(2) with a type of posix.F_….
	Flock(typ uint32, wait bool) error
}

// LockKind tells POSIX locks from those of an open file description.
type LockKind uint8

// Kinds of fcntl(2)'s locks.
const (
	LockPOSIX LockKind = iota
	LockOFD
)

// A Notifier is a Proc that can be told of changes by inotify(7).
type Notifier interface {
	// Watch watches a file or folder, and does not follow a symbolic link.
	Watch(path string) error
	// Events waits so long and returns what has come since it was last asked, in order.
	Events(wait time.Duration) ([]string, error)
}

// A Mapper is a File that can be mapped, shared, for reading and writing. The slice is
// good until unmap.
type Mapper interface {
	Mmap(off int64, length int) (b []byte, unmap func() error, err error)
}
