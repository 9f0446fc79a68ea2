package posix

// Types of files, in a mode's upper bits.
const (
	S_IFMT   = 0o170000
	S_IFSOCK = 0o140000
	S_IFLNK  = 0o120000
	S_IFREG  = 0o100000
	S_IFBLK  = 0o060000
	S_IFDIR  = 0o040000
	S_IFCHR  = 0o020000
	S_IFIFO  = 0o010000
)

// Permissions and their special bits.
const (
	S_ISUID = 0o4000
	S_ISGID = 0o2000
	S_ISVTX = 0o1000
	S_IXGRP = 0o0010
	// ModeMask has what chmod may set.
	ModeMask = 0o7777
)

// Types of files as directories list them (d_type): the type bits of a mode, shifted.
const (
	DT_UNKNOWN = 0
	DT_FIFO    = S_IFIFO >> 12
	DT_CHR     = S_IFCHR >> 12
	DT_DIR     = S_IFDIR >> 12
	DT_BLK     = S_IFBLK >> 12
	DT_REG     = S_IFREG >> 12
	DT_LNK     = S_IFLNK >> 12
	DT_SOCK    = S_IFSOCK >> 12
)

// Flags of open(2).
const (
	O_RDONLY    = 0
	O_WRONLY    = 1
	O_RDWR      = 2
	O_ACCMODE   = 3
	O_CREAT     = 0o100
	O_EXCL      = 0o200
	O_NOCTTY    = 0o400
	O_TRUNC     = 0o1000
	O_APPEND    = 0o2000
	O_NONBLOCK  = 0o4000
	O_DSYNC     = 0o10000
	O_ASYNC     = 0o20000
	O_DIRECT    = 0o40000
	O_LARGEFILE = 0o100000
	O_DIRECTORY = 0o200000
	O_NOFOLLOW  = 0o400000
	O_NOATIME   = 0o1000000
	O_CLOEXEC   = 0o2000000
	O_SYNC      = 0o4010000 // __O_SYNC and O_DSYNC
	O_PATH      = 0o10000000
	O_TMPFILE   = 0o20200000 // __O_TMPFILE and O_DIRECTORY
	// FMODE_EXEC is how the kernel marks an open for execve(2).
	FMODE_EXEC = 0x20
)

// Flags of renameat2(2).
const (
	RENAME_NOREPLACE = 1
	RENAME_EXCHANGE  = 2
	RENAME_WHITEOUT  = 4
)

// Flags of setxattr(2).
const (
	XATTR_CREATE  = 1
	XATTR_REPLACE = 2
)

// Flags of fallocate(2).
const (
	FALLOC_FL_KEEP_SIZE      = 0x01
	FALLOC_FL_PUNCH_HOLE     = 0x02
	FALLOC_FL_COLLAPSE_RANGE = 0x08
	FALLOC_FL_ZERO_RANGE     = 0x10
	FALLOC_FL_INSERT_RANGE   = 0x20
	FALLOC_FL_UNSHARE_RANGE  = 0x40
)

// Whences of lseek(2).
const (
	SEEK_SET  = 0
	SEEK_CUR  = 1
	SEEK_END  = 2
	SEEK_DATA = 3
	SEEK_HOLE = 4
)

// Types of locks of fcntl(2).
const (
	F_RDLCK = 0
	F_WRLCK = 1
	F_UNLCK = 2
)

// Limits.
const (
	NAME_MAX       = 255   // bytes of one name
	PATH_MAX       = 4096  // bytes of a symlink's target, with a NUL
	XATTR_NAME_MAX = 255   // bytes
	XATTR_SIZE_MAX = 65536 // bytes of a value
	XATTR_LIST_MAX = 65536 // bytes of a list
)

// Makedev packs a device number as the FUSE protocol carries it (the kernel's
// new_encode_dev: 12 bits of major, 20 of minor).
func Makedev(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// Major returns the major number of a packed device number.
func Major(dev uint32) uint32 { return dev >> 8 & 0xfff }

// Minor returns the minor number of a packed device number.
func Minor(dev uint32) uint32 { return dev&0xff | dev>>12&0xfff00 }
