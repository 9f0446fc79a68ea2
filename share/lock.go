package share

import "context"

// A Locker keeps the advisory locks of one session's guest, against those of all other
// sessions that have the same files. Locks are keyed by the file's identity, never by a
// handle; fcntl(2)'s and flock(2)'s do not see each other. Methods are safe for
// concurrent use.
type Locker interface {
	// GetLock returns a lock of another owner that stops l, and whether there is one.
	GetLock(ctx context.Context, file FileID, l Lock) (Lock, bool, error)
	// SetLock takes, changes or (F_UNLCK) gives back a lock, splitting and merging ranges
	// as fcntl(2) says. EAGAIN when another is in the way. With wait it waits in order of
	// asking; EDEADLK when that would never end, EINTR when ctx ends. ENOLCK past a bound.
	SetLock(ctx context.Context, file FileID, l Lock, wait bool) error
	// Drop gives back all that an owner has on a file, of one kind.
	Drop(file FileID, owner uint64, kind LockKind)
	// Close gives back all of the session's locks and ends its waits.
	Close() error
}

// LockKind tells fcntl's locks (POSIX and open file description ones) from flock's, and
// both from what sessions have among themselves.
type LockKind uint8

// Kinds of locks.
const (
	LockPOSIX LockKind = iota
	LockFlock
	// LockMapping is held by the one session that may map a file to write it. No guest
	// can ask for it.
	LockMapping
)

// Lock is one lock on a range of a file.
type Lock struct {
	Kind       LockKind
	Owner      uint64 // the guest kernel's lock_owner; unique in its session
	Type       uint32 // posix.F_RDLCK, F_WRLCK, F_UNLCK
	Start, End uint64 // bytes, End included; to the end of the file is 1<<63 - 1
	PID        uint32 // in its guest; 0 when it is of another VM
}

// Peers keeps guests of other VMs that have the same files in step with this one.
type Peers interface {
	// Announce tells other sessions what this guest has changed. It returns when their
	// guests' caches hold nothing of before, or have been given up on after a bound. It
	// is called before the guest hears that its change was made.
	Announce(ctx context.Context, changes []Change)
	// Shared tells whether another session has any of the same files now; when not,
	// Announce need not be called. It costs nothing.
	Shared() bool
}

// Change is something that a guest has changed. The zero Change says that anything may
// have: what others changed was too much to tell, or was missed.
type Change struct {
	// File, when not zero, has other attributes, and other content from Off on for Len
	// bytes (Len -1: to the end; 0: attributes only).
	File     FileID
	Off, Len int64
	// Dir, when not zero, has Name changed: made, removed or replaced.
	Dir  FileID
	Name string
}
