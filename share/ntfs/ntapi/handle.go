package ntapi

import "time"

// A FileID names a file of a volume until it is removed. High is zero on NTFS.
type FileID struct{ Low, High uint64 }

// A Time is a time of NT: steps of 100 ns since 1601, UTC.
type Time int64

const epochSeconds = 11644473600 // from 1601 to 1970

// TimeOf returns seconds and nanoseconds of Unix time as a Time, rounded down; those that
// it cannot hold become the nearest that are not orders to SetBasic.
func TimeOf(sec int64, nsec uint32) Time {
	const last = (1<<63-1)/10_000_000 - epochSeconds - 1
	if sec <= -epochSeconds {
		return 1
	}
	if sec > last {
		sec, nsec = last, 999_999_999
	}
	return Time((sec+epochSeconds)*10_000_000 + int64(nsec)/100)
}

// Now returns the clock of the system as a Time.
func Now() Time {
	now := time.Now()
	return TimeOf(now.Unix(), uint32(now.Nanosecond()))
}

// Unix returns the time as seconds and nanoseconds since 1970.
func (t Time) Unix() (sec int64, nsec uint32) {
	s, rest := int64(t)/10_000_000, int64(t)%10_000_000
	if rest < 0 {
		s, rest = s-1, rest+10_000_000
	}
	return s - epochSeconds, uint32(rest * 100)
}

// StatLx is FILE_STAT_LX_INFORMATION: what a stat needs, in one call.
type StatLx struct {
	ID                            FileID
	Creation, Access, Write       Time
	Change                        Time
	Allocation, EndOfFile         int64
	Attributes, ReparseTag, Links uint32
	LxFlags                       uint32
	UID, GID, Mode, Major, Minor  uint32 // where LxFlags says so
}

// Basic are the times and attributes that SetBasic sets: zero leaves one as it is.
type Basic struct {
	Creation, Access, Write, Change Time
	Attributes                      uint32
}

// An EA is an extended attribute. The file system upper-cases its name; setting an empty
// value removes it.
type EA struct {
	Name  string
	Value []byte
}

// Reparse is a reparse point's tag and data.
type Reparse struct {
	Tag  uint32
	Data []byte
}

// DirEntry is a name in a directory as the directory keeps it: sizes and times are stale
// while the file is open or when it has more names, so they are not given.
type DirEntry struct {
	Name       string
	ID         FileID
	Attributes uint32
	ReparseTag uint32
}

// A Range is a part of a file in bytes.
type Range struct{ Offset, Length int64 }

// Volume is what a volume says of itself.
type Volume struct {
	Serial           uint64
	FileSystem       string // "NTFS", "ReFS", …
	BytesPerUnit     int64  // of allocation
	Units            int64
	Free, CallerFree int64 // units: of the volume, of the caller's quota
}

// A Change is one notice of a watched directory.
type Change struct {
	Action     uint32
	Name       string // relative to the watched directory, with backslashes
	ID, Parent FileID
	Attributes uint32
}

// An OpenRequest says what NtCreateFile should open. Case is heeded as the directory
// wants it; what was found must be compared by Name.
type OpenRequest struct {
	Name        string // one component, WTF-8; empty: the handle's own file
	ID          FileID // with OptionByID
	Access      uint32
	Attributes  uint32 // of a new file
	Share       uint32
	Disposition uint32
	Options     uint32
	EAs         []EA // of a new file; set with it or not at all
}

// A Handle is an open file or directory. Errors are *Error; a call names none of the
// file, which the caller knows.
type Handle interface {
	Opener
	Informer
	Namer
	Attributer
	Content
	Directory
	// Close closes it. A disposition takes effect, times that writes owe are written.
	Close() error
}

// Opener opens files relative to a directory, or by id on its volume.
type Opener interface {
	// Open opens or creates; created tells which.
	Open(r OpenRequest) (h Handle, created bool, err error)
}

// Informer gives and sets what a file's record has.
type Informer interface {
	// Stat returns FileStatLxInformation.
	Stat() (StatLx, error)
	// Path returns the normalized name: from the volume's root, in the case of the disk,
	// short names made long.
	Path() (string, error)
	// SetBasic sets times and attributes.
	SetBasic(b Basic) error
	// Volume returns the volume's figures.
	Volume() (Volume, error)
}

// Namer changes a file's names. The handle needs AccessDelete but for Link.
type Namer interface {
	// SetDisposition deletes the name that the handle was opened by, when it closes.
	SetDisposition(flags uint32) error
	// Rename moves the name that the handle was opened by.
	Rename(to Handle, name string, flags uint32) error
	// Link gives the file one more name.
	Link(to Handle, name string, flags uint32) error
}

// Attributer has extended attributes and the reparse point.
type Attributer interface {
	// EAs returns those of the names that are there.
	EAs(names ...string) ([]EA, error)
	// SetEAs sets or removes some, all at once.
	SetEAs(eas []EA) error
	// Reparse, SetReparse and DeleteReparse act on the reparse point.
	Reparse() (Reparse, error)
	SetReparse(r Reparse) error
	DeleteReparse(tag uint32) error
}

// Content is a file's data.
type Content interface {
	// ReadAt reads at off. At the end it returns 0 and no error.
	ReadAt(b []byte, off int64) (int, error)
	// WriteAt writes all of b at off, or at the end for AppendOffset.
	WriteAt(b []byte, off int64) (int, error)
	// Flush makes the file durable.
	Flush(flags uint32) error
	// SetEndOfFile sets the size, SetAllocation what is reserved; less than the size
	// truncates.
	SetEndOfFile(size int64) error
	SetAllocation(size int64) error
	// SetSparse makes the file sparse: zeroed ranges take no space.
	SetSparse() error
	// ZeroData zeroes from off to end; the size stays.
	ZeroData(off, end int64) error
	// AllocatedRanges returns the parts of the range that may hold data, in order.
	AllocatedRanges(off, length int64) ([]Range, error)
}

// Directory is what only directories have.
type Directory interface {
	// List returns the next entries, from the first with restart, none at the end. "."
	// and ".." are among them.
	List(restart bool) ([]DirEntry, error)
	// SetCaseSensitive sets the case flag.
	SetCaseSensitive(on bool) error
	// ReadChanges waits for changes below, of whole subtrees, and returns them. The first
	// call begins the watch. StatusNotifyEnumDir: some were lost. Close ends it with
	// StatusCancelled or StatusNotifyCleanup.
	//
	// noted, if there is one, is called before the wait, when changes are noted from then on: those
	// from before a handle's first call are told to nobody. It may not be called on an error.
	ReadChanges(filter uint32, noted func()) ([]Change, error)
}
