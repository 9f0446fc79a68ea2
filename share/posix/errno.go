package posix

import (
	"errors"
	"io/fs"
	"strconv"
)

// An Errno is one of Linux's error numbers. As an error it matches io/fs's kinds with
// errors.Is (fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrInvalid, fs.ErrClosed)
// and errors.ErrUnsupported.
type Errno uint32

// The errnos that a file system answers with.
const (
	EPERM        Errno = 1
	ENOENT       Errno = 2
	ESRCH        Errno = 3
	EINTR        Errno = 4
	EIO          Errno = 5
	ENXIO        Errno = 6
	E2BIG        Errno = 7
	EBADF        Errno = 9
	EAGAIN       Errno = 11
	ENOMEM       Errno = 12
	EACCES       Errno = 13
	EFAULT       Errno = 14
	EBUSY        Errno = 16
	EEXIST       Errno = 17
	EXDEV        Errno = 18
	ENODEV       Errno = 19
	ENOTDIR      Errno = 20
	EISDIR       Errno = 21
	EINVAL       Errno = 22
	ENFILE       Errno = 23
	EMFILE       Errno = 24
	ENOTTY       Errno = 25
	ETXTBSY      Errno = 26
	EFBIG        Errno = 27
	ENOSPC       Errno = 28
	ESPIPE       Errno = 29
	EROFS        Errno = 30
	EMLINK       Errno = 31
	EPIPE        Errno = 32
	EDOM         Errno = 33
	ERANGE       Errno = 34
	EDEADLK      Errno = 35
	ENAMETOOLONG Errno = 36
	ENOLCK       Errno = 37
	ENOSYS       Errno = 38
	ENOTEMPTY    Errno = 39
	ELOOP        Errno = 40
	ENODATA      Errno = 61
	EOVERFLOW    Errno = 75
	EUSERS       Errno = 87
	EOPNOTSUPP   Errno = 95
	ETIMEDOUT    Errno = 110
	ESTALE       Errno = 116
	EDQUOT       Errno = 122
	ECANCELED    Errno = 125
	ENOTCONN     Errno = 107
	ECONNABORTED Errno = 103
)

var messages = map[Errno]string{
	EPERM:        "operation not permitted",
	ENOENT:       "no such file or directory",
	ESRCH:        "no such process",
	EINTR:        "interrupted system call",
	EIO:          "input/output error",
	ENXIO:        "no such device or address",
	E2BIG:        "argument list too long",
	EBADF:        "bad file descriptor",
	EAGAIN:       "resource temporarily unavailable",
	ENOMEM:       "cannot allocate memory",
	EACCES:       "permission denied",
	EFAULT:       "bad address",
	EBUSY:        "device or resource busy",
	EEXIST:       "file exists",
	EXDEV:        "invalid cross-device link",
	ENODEV:       "no such device",
	ENOTDIR:      "not a directory",
	EISDIR:       "is a directory",
	EINVAL:       "invalid argument",
	ENFILE:       "too many open files in system",
	EMFILE:       "too many open files",
	ENOTTY:       "inappropriate ioctl for device",
	ETXTBSY:      "text file busy",
	EFBIG:        "file too large",
	ENOSPC:       "no space left on device",
	ESPIPE:       "illegal seek",
	EROFS:        "read-only file system",
	EMLINK:       "too many links",
	EPIPE:        "broken pipe",
	EDOM:         "numerical argument out of domain",
	ERANGE:       "numerical result out of range",
	EDEADLK:      "resource deadlock avoided",
	ENAMETOOLONG: "file name too long",
	ENOLCK:       "no locks available",
	ENOSYS:       "function not implemented",
	ENOTEMPTY:    "directory not empty",
	ELOOP:        "too many levels of symbolic links",
	ENODATA:      "no data available",
	EOVERFLOW:    "value too large for defined data type",
	EUSERS:       "too many users",
	EOPNOTSUPP:   "operation not supported",
	ETIMEDOUT:    "connection timed out",
	ESTALE:       "stale file handle",
	EDQUOT:       "disk quota exceeded",
	ECANCELED:    "operation canceled",
	ENOTCONN:     "transport endpoint is not connected",
	ECONNABORTED: "software caused connection abort",
}

var names = map[Errno]string{
	EPERM:        "EPERM",
	ENOENT:       "ENOENT",
	ESRCH:        "ESRCH",
	EINTR:        "EINTR",
	EIO:          "EIO",
	ENXIO:        "ENXIO",
	E2BIG:        "E2BIG",
	EBADF:        "EBADF",
	EAGAIN:       "EAGAIN",
	ENOMEM:       "ENOMEM",
	EACCES:       "EACCES",
	EFAULT:       "EFAULT",
	EBUSY:        "EBUSY",
	EEXIST:       "EEXIST",
	EXDEV:        "EXDEV",
	ENODEV:       "ENODEV",
	ENOTDIR:      "ENOTDIR",
	EISDIR:       "EISDIR",
	EINVAL:       "EINVAL",
	ENFILE:       "ENFILE",
	EMFILE:       "EMFILE",
	ENOTTY:       "ENOTTY",
	ETXTBSY:      "ETXTBSY",
	EFBIG:        "EFBIG",
	ENOSPC:       "ENOSPC",
	ESPIPE:       "ESPIPE",
	EROFS:        "EROFS",
	EMLINK:       "EMLINK",
	EPIPE:        "EPIPE",
	EDOM:         "EDOM",
	ERANGE:       "ERANGE",
	EDEADLK:      "EDEADLK",
	ENAMETOOLONG: "ENAMETOOLONG",
	ENOLCK:       "ENOLCK",
	ENOSYS:       "ENOSYS",
	ENOTEMPTY:    "ENOTEMPTY",
	ELOOP:        "ELOOP",
	ENODATA:      "ENODATA",
	EOVERFLOW:    "EOVERFLOW",
	EUSERS:       "EUSERS",
	EOPNOTSUPP:   "EOPNOTSUPP",
	ETIMEDOUT:    "ETIMEDOUT",
	ESTALE:       "ESTALE",
	EDQUOT:       "EDQUOT",
	ECANCELED:    "ECANCELED",
	ENOTCONN:     "ENOTCONN",
	ECONNABORTED: "ECONNABORTED",
}

// Error returns what the number means.
func (e Errno) Error() string {
	if m, ok := messages[e]; ok {
		return m
	}
	return "errno " + strconv.Itoa(int(e))
}

// Name returns the constant's name, such as "ENOENT".
func (e Errno) Name() string {
	if n, ok := names[e]; ok {
		return n
	}
	return "errno " + strconv.Itoa(int(e))
}

// Is lets errors.Is match the kinds of io/fs.
func (e Errno) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e == ENOENT
	case fs.ErrExist:
		return e == EEXIST || e == ENOTEMPTY
	case fs.ErrPermission:
		return e == EACCES || e == EPERM
	case fs.ErrInvalid:
		return e == EINVAL
	case fs.ErrClosed:
		return e == EBADF
	case errors.ErrUnsupported:
		return e == ENOSYS || e == EOPNOTSUPP
	}
	return false
}

// FromError returns the Errno in err's chain; EIO when there is none and err is not nil.
// A nil err is 0.
func FromError(err error) Errno {
	if err == nil {
		return 0
	}
	var e Errno
	if errors.As(err, &e) {
		return e
	}
	return EIO
}
