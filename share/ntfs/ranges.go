package ntfs

import (
	"math"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// Fallocate implements share.File. NTFS reserves at the end only: space in a hole of a
// sparse file is not kept for it.
func (f *file) Fallocate(mode uint32, off, length uint64) error {
	const keep, punch, zero = posix.FALLOC_FL_KEEP_SIZE, posix.FALLOC_FL_PUNCH_HOLE, posix.FALLOC_FL_ZERO_RANGE
	switch {
	case f.readOnly():
		return posix.EBADF
	case mode != 0 && mode != keep && mode != punch|keep && mode != zero && mode != zero|keep:
		return posix.EOPNOTSUPP
	case length == 0:
		return posix.EINVAL
	case off > math.MaxInt64 || length > math.MaxInt64-off:
		return posix.EFBIG
	}
	from, to := int64(off), int64(off+length)
	return f.do(func(h ntapi.Handle) error {
		// Set-user-id goes by who asks, which the session knows.
		if err := f.disarm(h, false); err != nil {
			return err
		}
		st, err := h.Stat()
		if err != nil {
			return err
		}
		if mode&(punch|zero) != 0 {
			if mode&punch != 0 {
				if err := h.SetSparse(); err != nil {
					return err
				}
			}
			if end := min(to, st.EndOfFile); from < end {
				if err := h.ZeroData(from, end); err != nil {
					return err
				}
			}
		} else if to > max(st.EndOfFile, st.Allocation) {
			if err := h.SetAllocation(to); err != nil {
				return err
			}
		}
		if mode&keep == 0 && to > st.EndOfFile {
			if err := h.SetEndOfFile(to); err != nil {
				return err
			}
		}
		f.wrote.Store(int64(ntapi.Now()))
		return nil
	})
}

// Seek implements share.File.
func (f *file) Seek(off uint64, whence uint32) (uint64, error) {
	if whence != posix.SEEK_DATA && whence != posix.SEEK_HOLE {
		return 0, posix.EINVAL
	}
	at := off
	err := f.do(func(h ntapi.Handle) error {
		st, err := h.Stat()
		if err != nil {
			return err
		}
		end := uint64(st.EndOfFile)
		if off >= end {
			return posix.ENXIO
		}
		ranges, err := h.AllocatedRanges(int64(off), int64(end-off))
		if err != nil {
			return err
		}
		at = seek(ranges, off, end, whence == posix.SEEK_HOLE)
		if at == end && whence == posix.SEEK_DATA {
			return posix.ENXIO
		}
		return nil
	})
	return at, err
}

// seek finds data or a hole from off on, among ranges in order; end when there is none.
func seek(ranges []ntapi.Range, off, end uint64, hole bool) uint64 {
	for _, r := range ranges {
		from, to := uint64(max(r.Offset, 0)), uint64(max(r.Offset+r.Length, 0))
		if to <= off {
			continue
		}
		if !hole {
			return min(max(from, off), end)
		}
		if from > off {
			return off
		}
		off = min(to, end)
	}
	if hole {
		return off
	}
	return end
}

// CopyTo implements share.File: by reads and writes of the host's, which a guest need not
// carry. Holes are copied as zeros.
func (f *file) CopyTo(to share.File, off, toOff, length uint64) (uint64, error) {
	t, ok := to.(*file)
	switch {
	case !ok || t.b != f.b:
		return 0, posix.EXDEV
	case t.readOnly():
		return 0, posix.EBADF
	case off > math.MaxInt64 || toOff > math.MaxInt64 || length > math.MaxInt64-max(off, toOff):
		return 0, posix.EFBIG
	case t.i == f.i && off < toOff+length && toOff < off+length:
		return 0, posix.EINVAL
	}
	buf := make([]byte, min(length, 1<<20))
	done := uint64(0)
	for done < length {
		n, err := f.ReadAt(buf[:min(uint64(len(buf)), length-done)], int64(off+done))
		if err != nil || n == 0 {
			return done, errUnless(done, err)
		}
		n, err = t.WriteAt(buf[:n], int64(toOff+done), false)
		done += uint64(n)
		if err != nil {
			return done, errUnless(done, err)
		}
	}
	return done, nil
}

// errUnless is err when nothing was done: a copy that was short says how far it came.
func errUnless(done uint64, err error) error {
	if done > 0 {
		return nil
	}
	return err
}
