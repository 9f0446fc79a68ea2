package ntapi

import (
	"fmt"

	"github.com/porthole-run/porthole/share/posix"
)

// A Status is an NTSTATUS. As an error it matches its posix.Errno with errors.Is and
// errors.As.
type Status uint32

// Statuses that file systems answer with (ntstatus.h).
const (
	StatusSuccess              Status = 0x00000000
	StatusPending              Status = 0x00000103
	StatusNotifyCleanup        Status = 0x0000010B
	StatusNotifyEnumDir        Status = 0x0000010C
	StatusBufferOverflow       Status = 0x80000005
	StatusNoMoreFiles          Status = 0x80000006
	StatusNoMoreEntries        Status = 0x8000001A
	StatusNotImplemented       Status = 0xC0000002
	StatusInvalidInfoClass     Status = 0xC0000003
	StatusInvalidHandle        Status = 0xC0000008
	StatusInvalidParameter     Status = 0xC000000D
	StatusNoSuchFile           Status = 0xC000000F
	StatusInvalidDeviceRequest Status = 0xC0000010
	StatusEndOfFile            Status = 0xC0000011
	StatusNoMemory             Status = 0xC0000017
	StatusAccessDenied         Status = 0xC0000022
	StatusBufferTooSmall       Status = 0xC0000023
	StatusObjectNameInvalid    Status = 0xC0000033
	StatusObjectNameNotFound   Status = 0xC0000034
	StatusObjectNameCollision  Status = 0xC0000035
	StatusObjectPathInvalid    Status = 0xC0000039
	StatusObjectPathNotFound   Status = 0xC000003A
	StatusSharingViolation     Status = 0xC0000043
	StatusQuotaExceeded        Status = 0xC0000044
	StatusEAsNotSupported      Status = 0xC000004F
	StatusEATooLarge           Status = 0xC0000050
	StatusNonexistentEAEntry   Status = 0xC0000051
	StatusNoEAsOnFile          Status = 0xC0000052
	StatusFileLockConflict     Status = 0xC0000054
	StatusDeletePending        Status = 0xC0000056
	StatusDiskFull             Status = 0xC000007F
	StatusInsufficientResource Status = 0xC000009A
	StatusMediaWriteProtected  Status = 0xC00000A2
	StatusFileIsADirectory     Status = 0xC00000BA
	StatusNotSupported         Status = 0xC00000BB
	StatusNotSameDevice        Status = 0xC00000D4
	StatusDirectoryNotEmpty    Status = 0xC0000101
	StatusNotADirectory        Status = 0xC0000103
	StatusNameTooLong          Status = 0xC0000106
	StatusTooManyOpenedFiles   Status = 0xC000011F
	StatusCancelled            Status = 0xC0000120
	StatusCannotDelete         Status = 0xC0000121
	StatusFileDeleted          Status = 0xC0000123
	StatusFileClosed           Status = 0xC0000128
	StatusIODeviceError        Status = 0xC0000185
	StatusUserMappedFile       Status = 0xC0000243
	StatusTooManyLinks         Status = 0xC0000265
	StatusNotAReparsePoint     Status = 0xC0000275
	StatusReparseTagMismatch   Status = 0xC0000277
	StatusReparseDataInvalid   Status = 0xC0000278
	StatusReparsePoint         Status = 0xC000050B // STATUS_REPARSE_POINT_ENCOUNTERED
	StatusFileTooLarge         Status = 0xC0000904
	StatusCaseDiffering        Status = 0xC00004B3 // STATUS_CASE_DIFFERING_NAMES_IN_DIR
)

var statuses = map[Status]struct {
	name  string
	errno posix.Errno
}{
	StatusSuccess:              {"STATUS_SUCCESS", 0},
	StatusPending:              {"STATUS_PENDING", posix.EIO},
	StatusNotifyCleanup:        {"STATUS_NOTIFY_CLEANUP", posix.ECANCELED},
	StatusNotifyEnumDir:        {"STATUS_NOTIFY_ENUM_DIR", posix.EOVERFLOW},
	StatusBufferOverflow:       {"STATUS_BUFFER_OVERFLOW", posix.EIO},
	StatusNoMoreFiles:          {"STATUS_NO_MORE_FILES", posix.ENOENT},
	StatusNoMoreEntries:        {"STATUS_NO_MORE_ENTRIES", posix.ENOENT},
	StatusNotImplemented:       {"STATUS_NOT_IMPLEMENTED", posix.EOPNOTSUPP},
	StatusInvalidInfoClass:     {"STATUS_INVALID_INFO_CLASS", posix.EOPNOTSUPP},
	StatusInvalidHandle:        {"STATUS_INVALID_HANDLE", posix.EBADF},
	StatusInvalidParameter:     {"STATUS_INVALID_PARAMETER", posix.EINVAL},
	StatusNoSuchFile:           {"STATUS_NO_SUCH_FILE", posix.ENOENT},
	StatusInvalidDeviceRequest: {"STATUS_INVALID_DEVICE_REQUEST", posix.EOPNOTSUPP},
	StatusEndOfFile:            {"STATUS_END_OF_FILE", posix.EIO},
	StatusNoMemory:             {"STATUS_NO_MEMORY", posix.ENOMEM},
	StatusAccessDenied:         {"STATUS_ACCESS_DENIED", posix.EACCES},
	StatusBufferTooSmall:       {"STATUS_BUFFER_TOO_SMALL", posix.EIO},
	StatusObjectNameInvalid:    {"STATUS_OBJECT_NAME_INVALID", posix.EINVAL},
	StatusObjectNameNotFound:   {"STATUS_OBJECT_NAME_NOT_FOUND", posix.ENOENT},
	StatusObjectNameCollision:  {"STATUS_OBJECT_NAME_COLLISION", posix.EEXIST},
	StatusObjectPathInvalid:    {"STATUS_OBJECT_PATH_INVALID", posix.ENOTDIR},
	StatusObjectPathNotFound:   {"STATUS_OBJECT_PATH_NOT_FOUND", posix.ENOENT},
	StatusSharingViolation:     {"STATUS_SHARING_VIOLATION", posix.EBUSY},
	StatusQuotaExceeded:        {"STATUS_QUOTA_EXCEEDED", posix.EDQUOT},
	StatusEAsNotSupported:      {"STATUS_EAS_NOT_SUPPORTED", posix.EOPNOTSUPP},
	StatusEATooLarge:           {"STATUS_EA_TOO_LARGE", posix.ENOSPC},
	StatusNonexistentEAEntry:   {"STATUS_NONEXISTENT_EA_ENTRY", posix.ENODATA},
	StatusNoEAsOnFile:          {"STATUS_NO_EAS_ON_FILE", posix.ENODATA},
	StatusFileLockConflict:     {"STATUS_FILE_LOCK_CONFLICT", posix.EAGAIN},
	StatusDeletePending:        {"STATUS_DELETE_PENDING", posix.ENOENT},
	StatusDiskFull:             {"STATUS_DISK_FULL", posix.ENOSPC},
	StatusInsufficientResource: {"STATUS_INSUFFICIENT_RESOURCES", posix.ENOMEM},
	StatusMediaWriteProtected:  {"STATUS_MEDIA_WRITE_PROTECTED", posix.EROFS},
	StatusFileIsADirectory:     {"STATUS_FILE_IS_A_DIRECTORY", posix.EISDIR},
	StatusNotSupported:         {"STATUS_NOT_SUPPORTED", posix.EOPNOTSUPP},
	StatusNotSameDevice:        {"STATUS_NOT_SAME_DEVICE", posix.EXDEV},
	StatusDirectoryNotEmpty:    {"STATUS_DIRECTORY_NOT_EMPTY", posix.ENOTEMPTY},
	StatusNotADirectory:        {"STATUS_NOT_A_DIRECTORY", posix.ENOTDIR},
	StatusNameTooLong:          {"STATUS_NAME_TOO_LONG", posix.ENAMETOOLONG},
	StatusTooManyOpenedFiles:   {"STATUS_TOO_MANY_OPENED_FILES", posix.ENFILE},
	StatusCancelled:            {"STATUS_CANCELLED", posix.ECANCELED},
	StatusCannotDelete:         {"STATUS_CANNOT_DELETE", posix.EBUSY},
	StatusFileDeleted:          {"STATUS_FILE_DELETED", posix.ENOENT},
	StatusFileClosed:           {"STATUS_FILE_CLOSED", posix.EBADF},
	StatusIODeviceError:        {"STATUS_IO_DEVICE_ERROR", posix.EIO},
	StatusUserMappedFile:       {"STATUS_USER_MAPPED_FILE", posix.ETXTBSY},
	StatusTooManyLinks:         {"STATUS_TOO_MANY_LINKS", posix.EMLINK},
	StatusNotAReparsePoint:     {"STATUS_NOT_A_REPARSE_POINT", posix.EINVAL},
	StatusReparseTagMismatch:   {"STATUS_IO_REPARSE_TAG_MISMATCH", posix.EIO},
	StatusReparseDataInvalid:   {"STATUS_IO_REPARSE_DATA_INVALID", posix.EIO},
	StatusReparsePoint:         {"STATUS_REPARSE_POINT_ENCOUNTERED", posix.ELOOP},
	StatusFileTooLarge:         {"STATUS_FILE_TOO_LARGE", posix.EFBIG},
	StatusCaseDiffering:        {"STATUS_CASE_DIFFERING_NAMES_IN_DIR", posix.EEXIST},
}

// String returns the name of ntstatus.h, or the number.
func (s Status) String() string {
	if e, ok := statuses[s]; ok {
		return e.name
	}
	return fmt.Sprintf("NTSTATUS 0x%08X", uint32(s))
}

// Error is String.
func (s Status) Error() string { return s.String() }

// Errno returns what a Linux guest is told for the status; EIO for one that has no better
// match, 0 for success.
func (s Status) Errno() posix.Errno {
	if e, ok := statuses[s]; ok {
		return e.errno
	}
	if s < 0x80000000 {
		return 0
	}
	return posix.EIO
}

// Is matches the status' Errno.
func (s Status) Is(target error) bool {
	e, ok := target.(posix.Errno)
	return ok && e == s.Errno()
}

// As gives the status' Errno.
func (s Status) As(target any) bool {
	if e, ok := target.(*posix.Errno); ok {
		*e = s.Errno()
		return true
	}
	return false
}

// Error is a call that failed.
type Error struct {
	Op     string // the system's name of the call, with the information class
	Status Status
}

// Error returns "op: status".
func (e *Error) Error() string { return e.Op + ": " + e.Status.String() }

// Unwrap returns the status.
func (e *Error) Unwrap() error { return e.Status }
