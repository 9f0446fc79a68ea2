package client

import (
	"context"
	"errors"
	"math"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

func (f *file) Close() error {
	if err := f.open(); err != nil {
		return err
	}
	f.p.mu.Lock()
	delete(f.p.files, f)
	f.p.mu.Unlock()
	return f.finish()
}

// finish flushes, which drops the process's POSIX locks, and releases the description
// with its last handle.
func (f *file) finish() error {
	d, k := f.d, f.p.k
	var err error
	if d.hasFH && !d.n.isDir() {
		_, err = f.call(fuse.OpFlush, fuse.FlushIn{FH: d.fh, LockOwner: f.p.owner})
		if err == posix.ENOSYS {
			err = nil
		}
	}
	f.drop(f.p.owner, share.LockPOSIX)
	d.mu.Lock()
	d.refs--
	last := d.refs == 0
	d.mu.Unlock()
	if !last {
		return err
	}
	f.drop(d.owner, share.LockPOSIX)
	f.drop(d.owner, share.LockFlock)
	if d.hasFH {
		op := fuse.OpRelease
		if d.n.isDir() {
			op = fuse.OpReleasedir
		}
		in := fuse.ReleaseIn{FH: d.fh, Flags: d.flags, LockOwner: d.owner}
		if k.flags&fuse.FlockLocks != 0 {
			in.ReleaseFlags = fuse.ReleaseFlockUnlock
		}
		_, rerr := f.call(op, in)
		err = errors.Join(err, rerr)
	}
	k.put(d.n)
	return err
}

// drop ends an owner's locks of the kernel's own.
func (f *file) drop(owner uint64, kind share.LockKind) {
	f.p.k.local.Drop(f.localID(), owner, kind)
}

func (f *file) localID() share.FileID {
	return share.FileID{Volume: 1, File: f.d.n.id, High: f.d.n.generation}
}

// span makes start and length a range with its last byte.
func span(start, length int64) (first, last uint64, err error) {
	switch {
	case start < 0:
		return 0, 0, posix.EINVAL
	case length == 0:
		return uint64(start), math.MaxInt64, nil
	case length < 0:
		if start+length < 0 {
			return 0, 0, posix.EINVAL
		}
		return uint64(start + length), uint64(start - 1), nil
	case length-1 > math.MaxInt64-start:
		return 0, 0, posix.EOVERFLOW
	}
	return uint64(start), uint64(start + length - 1), nil
}

func (f *file) lockOf(kind card.LockKind, typ uint32, start, length int64) (share.Lock, error) {
	first, last, err := span(start, length)
	owner := f.p.owner
	if kind == card.LockOFD {
		owner = f.d.owner
	}
	return share.Lock{Kind: share.LockPOSIX, Owner: owner, Type: typ, Start: first, End: last, PID: f.p.pid}, err
}

func (f *file) Lock(kind card.LockKind, typ uint32, start, length int64, wait bool) error {
	if err := f.open(); err != nil {
		return err
	}
	l, err := f.lockOf(kind, typ, start, length)
	if err != nil {
		return err
	}
	if typ == posix.F_RDLCK && !f.d.reads() || typ == posix.F_WRLCK && !f.d.writes() {
		return posix.EBADF
	}
	return f.set(l, wait, f.p.k.flags&fuse.PosixLocks != 0)
}

func (f *file) Flock(typ uint32, wait bool) error {
	if err := f.open(); err != nil {
		return err
	}
	if !f.d.hasFH {
		return posix.EBADF
	}
	l := share.Lock{Kind: share.LockFlock, Owner: f.d.owner, Type: typ, End: math.MaxInt64, PID: f.p.pid}
	return f.set(l, wait, f.p.k.flags&fuse.FlockLocks != 0)
}

// set changes a lock, at the server or, when that leaves locks to the kernel, here.
func (f *file) set(l share.Lock, wait, remote bool) error {
	if !remote || f.d.n.isDir() {
		return f.setLocal(l, wait) // FUSE has no locks of folders
	}
	in := fuse.LkIn{FH: f.d.fh, Owner: l.Owner, Start: l.Start, End: l.End, Type: l.Type, PID: l.PID}
	if l.Kind == share.LockFlock {
		in.Flags = fuse.LkFlock
	}
	op := fuse.OpSetlk
	if wait && l.Type != posix.F_UNLCK {
		op = fuse.OpSetlkw
	}
	_, err := f.call(op, in)
	return err
}

func (f *file) setLocal(l share.Lock, wait bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.p.interrupt.Store(&cancel)
	defer f.p.interrupt.Store(nil)
	err := f.p.k.local.SetLock(ctx, f.localID(), l, wait)
	if err == nil {
		return nil
	}
	return posix.FromError(err)
}

func (f *file) GetLock(kind card.LockKind, typ uint32, start, length int64) (uint32, int64, int64, error) {
	if err := f.open(); err != nil {
		return 0, 0, 0, err
	}
	l, err := f.lockOf(kind, typ, start, length)
	if err != nil {
		return 0, 0, 0, err
	}
	if f.p.k.flags&fuse.PosixLocks == 0 || f.d.n.isDir() {
		got, found, err := f.p.k.local.GetLock(context.Background(), f.localID(), l)
		if err != nil || !found {
			return posix.F_UNLCK, 0, 0, err
		}
		return got.Type, int64(got.Start), lengthOf(got.Start, got.End), nil
	}
	d, err := f.call(fuse.OpGetlk, fuse.LkIn{FH: f.d.fh, Owner: l.Owner, Start: l.Start, End: l.End, Type: l.Type, PID: l.PID})
	if err != nil {
		return 0, 0, 0, err
	}
	var out fuse.LkOut
	out.Decode(&d)
	if d.Err() != nil || out.Type > posix.F_UNLCK || out.Type != posix.F_UNLCK && out.End < out.Start {
		return 0, 0, 0, posix.EIO
	}
	return out.Type, int64(out.Start), lengthOf(out.Start, out.End), nil
}

func lengthOf(first, last uint64) int64 {
	if last >= math.MaxInt64 {
		return 0
	}
	return int64(last - first + 1)
}
