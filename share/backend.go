package share

import "github.com/porthole-run/porthole/share/posix"

// A Backend is one host folder, or one host file, that is shown to guests. Its methods
// and those of what it returns are safe for concurrent use.
//
// Errors are posix.Errno or wrap one; any other is EIO to the guest. Names are single
// components that the caller has checked: 1 to 255 bytes, no slash, no NUL, not "." or
// "..". They are bytes, in whatever encoding. No method follows a symbolic link, opens a
// FIFO, socket or device, or leaves the folder. The guest's kernel checks permissions:
// a Backend acts with all the rights that it has, and gives what it creates to the
// owner that it is told.
type Backend interface {
	// Root returns the folder or file itself. It is the same Node each time and needs no
	// Release.
	Root() Node
	// Features says what the host's file system can do.
	Features() Features
	// Close frees what the backend holds. Nodes, files and folders from it must not be
	// used after it.
	Close() error
}

// Features are properties of a Backend that do not change.
type Features struct {
	// TimeGran is the finest step of a file's times in nanoseconds.
	TimeGran uint32
	// Local means that nothing but this server's own kind can change the files unseen:
	// what Watcher does not tell did not happen. False for a file system of a network.
	Local bool
	// NoSecurity means that no file has or can get an attribute of the name
	// security.capability, so that guests need not ask.
	NoSecurity bool
}

// FileID names a file of the host, the same for every server on that host, for as long
// as the file is there. It is comparable.
type FileID struct {
	Volume uint64 // the device or the volume's serial number
	File   uint64 // inode number or the lower half of a file id
	High   uint64 // upper half of a 128-bit file id
	Birth  int64  // tells a file from an earlier one with the same number; 0 where that is not known
}

// Time is a point in time as file systems keep it.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Attr are the attributes of a file.
type Attr struct {
	ID        FileID
	Ino       uint64 // inode number to show, unique in the share
	Mode      uint32 // type and permissions
	Nlink     uint32 // true; of a folder 2 + its folders, or 1 when that is not known
	UID, GID  uint32
	Rdev      uint32 // packed, see posix.Makedev
	Size      uint64
	Blocks    uint64 // of 512 bytes, allocated
	BlockSize uint32 // best size for I/O
	Atime     Time
	Mtime     Time
	Ctime     Time
	// Change moves with each change of the file's content or attributes; Ctime, or finer.
	Change uint64
}

// Owner is who a new file belongs to.
type Owner struct{ UID, GID uint32 }

// A New says how to make a file: with that mode exactly, type bits included, whatever
// the server's umask. A folder with S_ISGID gives its group to what is made in it, and
// the bit to folders.
type New struct {
	Mode  uint32
	Rdev  uint32 // of devices
	Owner Owner
}

// SetFields says which fields of a SetAttr count.
type SetFields uint32

// Fields of a SetAttr.
const (
	SetMode SetFields = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
	SetAtimeNow // the host's clock; over SetAtime
	SetMtimeNow
	// KillSUIDGID clears set-user-id, set-group-id (when the group may execute) and
	// file capabilities: the guest asks for it when a truncation must.
	KillSUIDGID
)

// SetAttr is a change of attributes. Owner comes first, then mode, size, times.
type SetAttr struct {
	Fields       SetFields
	Mode         uint32 // permissions only
	UID, GID     uint32
	Size         uint64
	Atime, Mtime Time
}

// StatFS are the figures of the file system that a node is on.
type StatFS struct {
	Blocks, Free, Available uint64 // of FragmentSize
	Files, FreeFiles        uint64
	BlockSize, FragmentSize uint32
	NameLen                 uint32
}

// A Node is one file of any type. It goes on working when the file is renamed, replaced
// or removed, by whoever. Each Node that a method returned needs one Release.
type Node interface {
	// ID returns the file's identity. It costs nothing.
	ID() FileID
	// Attr returns the attributes, also of a file that has no name any more.
	Attr() (Attr, error)
	// SetAttr changes attributes and returns them all. Changing the owner clears
	// set-user-id, set-group-id (when the group may execute) and file capabilities.
	// The mode of a symbolic link is EOPNOTSUPP, the size of a folder EISDIR, of what
	// has none EINVAL.
	SetAttr(s SetAttr) (Attr, error)
	// StatFS returns the figures of the file system.
	StatFS() (StatFS, error)
	// Release frees what the node holds.
	Release()

	// Lookup finds a name in a folder: ENOENT, ENOTDIR.
	Lookup(name string) (Node, Attr, error)
	// Mkdir, Mknod and Symlink make a file: EEXIST, ENOENT in a removed folder, ENOSPC,
	// EMLINK. Mknod makes regular files, FIFOs, sockets and devices; of a device only the
	// number is kept: the host never has a device that the guest has made.
	Mkdir(name string, n New) (Node, Attr, error)
	Mknod(name string, n New) (Node, Attr, error)
	Symlink(name, target string, o Owner) (Node, Attr, error)
	// Link gives a file of the same backend one more name in this folder: EPERM for a
	// folder, ENOENT for a file that has no name any more.
	Link(name string, target Node) (Attr, error)
	// Create makes a regular file and opens it, whatever its mode allows. When the name
	// is there: EEXIST with O_EXCL, else it is opened as Open would.
	Create(name string, flags uint32, n New) (Node, File, Attr, error)
	// Tmpfile makes a regular file without a name and opens it. EOPNOTSUPP where that
	// cannot be.
	Tmpfile(flags uint32, n New) (Node, File, Attr, error)
	// Unlink and Rmdir remove a name: ENOENT, EISDIR, ENOTDIR, ENOTEMPTY. Files that are
	// open go on.
	Unlink(name string) error
	Rmdir(name string) error
	// Rename moves a name to a folder of the same backend, with the flags of
	// renameat2(2); flags it cannot do are EINVAL.
	Rename(name string, to Node, newName string, flags uint32) error
	// Readlink returns a symbolic link's target.
	Readlink() (string, error)

	// Open opens a regular file. Of flags it minds the access mode, O_APPEND, O_TRUNC,
	// O_SYNC, O_DSYNC. Any other type is ENXIO, a folder EISDIR.
	Open(flags uint32) (File, error)
	// OpenDir opens a folder for reading: ENOTDIR.
	OpenDir() (Dir, error)

	// Getxattr returns a value; ENODATA when there is none of the name, EOPNOTSUPP when
	// the host keeps none of its kind. Names that the server keeps for itself are as if
	// they were not there.
	Getxattr(name string) ([]byte, error)
	// Setxattr sets one, with the flags of setxattr(2): EEXIST, ENODATA, ENOSPC, EPERM.
	Setxattr(name string, value []byte, flags uint32) error
	// Listxattr returns the names.
	Listxattr() ([]string, error)
	// Removexattr removes one: ENODATA.
	Removexattr(name string) error
}

// A File is an open regular file.
type File interface {
	// ID is the file's identity: what locks are kept by.
	ID() FileID
	// ReadAt reads up to len(b) bytes and returns fewer only at the end of the file,
	// where it returns 0 and no error.
	ReadAt(b []byte, off int64) (int, error)
	// WriteAt writes all of b, or returns how much it wrote and an error. With O_APPEND
	// it writes at the end, whatever off is. File capabilities go in any case: guests need
	// not ask for that. kill is KillSUIDGID of SetAttr.
	WriteAt(b []byte, off int64, kill bool) (int, error)
	// Fsync makes data durable, and metadata too unless dataOnly.
	Fsync(dataOnly bool) error
	// Fallocate is fallocate(2) with mode 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE,
	// ZERO_RANGE and ZERO_RANGE|KEEP_SIZE; EOPNOTSUPP for others.
	Fallocate(mode uint32, off, length uint64) error
	// Seek finds data or a hole (SEEK_DATA, SEEK_HOLE): ENXIO past the end.
	Seek(off uint64, whence uint32) (uint64, error)
	// CopyTo copies between files of the same backend on the host and returns how much
	// was; EINVAL when the ranges overlap in one file, EXDEV when it cannot.
	CopyTo(to File, off, toOff, length uint64) (uint64, error)
	// Close closes it. Deferred write errors come here.
	Close() error
}

// A Dir is a folder open for reading.
type Dir interface {
	// Read returns entries after the cookie, at most max; 0 begins anew and sees what is
	// there now. "." and ".." are among them. Removing entries meanwhile neither hides
	// nor repeats others. None left: an empty slice. A removed folder is empty.
	Read(cookie uint64, max int) ([]DirEntry, error)
	// Fsync makes the folder's entries durable.
	Fsync(dataOnly bool) error
	// Close closes it.
	Close() error
}

// DirEntry is one name in a folder.
type DirEntry struct {
	Name   string
	Ino    uint64
	Type   uint32 // posix.DT_…
	Cookie uint64 // to go on after it
}

// ErrName is what a Backend returns for a name that the host cannot keep.
const ErrName = posix.EINVAL
