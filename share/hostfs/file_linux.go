package hostfs

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// A file is an open regular file.
type file struct {
	fs *FS
	id share.FileID
	fd int
}

var _ share.File = (*file)(nil)

// openFlags are the host's flags for a guest's open. What the guest's kernel has done
// already (O_CREAT, O_NOFOLLOW) or must not reach the host (O_DIRECT: the buffers are
// not aligned) is left out. Write-only files are opened for reading too: the guest's
// kernel may read a page to change a part of it.
func openFlags(flags uint32) int {
	how := unix.O_RDONLY
	if flags&posix.O_ACCMODE != posix.O_RDONLY {
		how = unix.O_RDWR
	}
	if flags&posix.O_APPEND != 0 {
		how |= unix.O_APPEND
	}
	if flags&posix.O_TRUNC != 0 {
		how |= unix.O_TRUNC
	}
	if flags&posix.O_DSYNC != 0 {
		how |= unix.O_DSYNC
	}
	if flags&posix.O_SYNC == posix.O_SYNC {
		how |= unix.O_SYNC
	}
	return how
}

// Open opens a regular file.
func (n *node) Open(flags uint32) (share.File, error) {
	switch n.typ {
	case posix.S_IFREG:
	case posix.S_IFDIR:
		return nil, posix.EISDIR
	default:
		return nil, posix.ENXIO
	}
	how := openFlags(flags)
	if n.desc.mnt.readOnly && how&(unix.O_RDWR|unix.O_TRUNC) != 0 {
		return nil, posix.EROFS
	}
	opened, err := n.reopen(how)
	if err == posix.EACCES && flags&posix.O_ACCMODE == posix.O_WRONLY {
		opened, err = n.reopen(how&^unix.O_ACCMODE | unix.O_WRONLY)
	}
	if err != nil {
		return nil, err
	}
	return &file{fs: n.fs, id: n.key.id, fd: opened}, nil
}

// reopen opens the node's file or folder, and counts it until the pool's giveFile.
func (n *node) reopen(how int) (int, error) {
	if err := n.fs.pool.takeFile(); err != nil {
		return -1, err
	}
	opened := -1
	err := n.with(func(fd int) (err error) {
		opened, err = n.fs.proc.reopen(fd, how)
		return err
	})
	if err != nil {
		n.fs.pool.giveFile()
	}
	return opened, err
}

// ID is the file's identity.
func (f *file) ID() share.FileID { return f.id }

// ReadAt reads up to len(b) bytes.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Pread(f.fd, b[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil && done == 0 {
			return 0, toErrno(err)
		}
		if err != nil || n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// WriteAt writes all of b, at the end of a file that was opened with O_APPEND.
func (f *file) WriteAt(b []byte, off int64, kill bool) (int, error) {
	if kill {
		if err := f.kill(); err != nil {
			return 0, err
		}
	}
	done := 0
	for done < len(b) {
		n, err := unix.Pwrite(f.fd, b[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, toErrno(err)
		}
		done += n
	}
	return done, nil
}

// kill clears set-user-id and the like. Capabilities are cleared by the kernel's own
// write.
func (f *file) kill() error {
	if f.fs.mapped {
		return f.fs.killMapped(f.fd)
	}
	st, err := statFD(f.fd)
	if err != nil {
		return err
	}
	mode := uint32(st.Mode) & posix.ModeMask
	if killed(mode) == mode {
		return nil
	}
	return again(func() error { return unix.Fchmod(f.fd, killed(mode)) })
}

// killMapped is for a regular file that is open.
func (fs *FS) killMapped(fd int) error {
	fs.owners.Lock()
	defer fs.owners.Unlock()
	o, err := getOverride(fd)
	if err != nil || killed(o.mode) == o.mode {
		return nil // nothing is kept: the host's mode is its own affair
	}
	o.mode = killed(o.mode)
	return setOverride(fd, o)
}

// Fsync makes data durable.
func (f *file) Fsync(dataOnly bool) error { return syncFD(f.fd, dataOnly) }

func syncFD(fd int, dataOnly bool) error {
	return again(func() error {
		if dataOnly {
			return unix.Fdatasync(fd)
		}
		return unix.Fsync(fd)
	})
}

// Fallocate allocates, zeroes or frees a range.
func (f *file) Fallocate(mode uint32, off, length uint64) error {
	switch mode {
	case 0, posix.FALLOC_FL_KEEP_SIZE, posix.FALLOC_FL_PUNCH_HOLE | posix.FALLOC_FL_KEEP_SIZE,
		posix.FALLOC_FL_ZERO_RANGE, posix.FALLOC_FL_ZERO_RANGE | posix.FALLOC_FL_KEEP_SIZE:
	default:
		return posix.EOPNOTSUPP
	}
	if off > math.MaxInt64 || length > math.MaxInt64 || off+length > math.MaxInt64 {
		return posix.EFBIG
	}
	return again(func() error { return unix.Fallocate(f.fd, mode, int64(off), int64(length)) })
}

// Seek finds data or a hole.
func (f *file) Seek(off uint64, whence uint32) (uint64, error) {
	if whence != posix.SEEK_DATA && whence != posix.SEEK_HOLE {
		return 0, posix.EINVAL
	}
	if off > math.MaxInt64 {
		return 0, posix.ENXIO
	}
	var at int64
	err := again(func() (err error) {
		// The descriptor's own offset, which this moves, is used by nothing.
		at, err = unix.Seek(f.fd, int64(off), int(whence))
		return err
	})
	return uint64(at), err
}

// CopyTo copies within the host.
func (f *file) CopyTo(to share.File, off, toOff, length uint64) (uint64, error) {
	t, ok := to.(*file)
	if !ok {
		return 0, posix.EXDEV
	}
	if off > math.MaxInt64 || toOff > math.MaxInt64 {
		return 0, posix.EFBIG
	}
	var n int
	err := again(func() (err error) {
		from, at := int64(off), int64(toOff)
		n, err = unix.CopyFileRange(f.fd, &from, t.fd, &at, int(min(length, 1<<30)), 0)
		return err
	})
	switch err {
	case nil:
		return uint64(n), nil
	case posix.EOPNOTSUPP, posix.ENOSYS:
		return 0, posix.EXDEV
	}
	return 0, err
}

// Close closes the file.
func (f *file) Close() error {
	defer f.fs.pool.giveFile()
	// Linux has closed the descriptor even when it says EINTR.
	if err := unix.Close(f.fd); err != unix.EINTR {
		return toErrno(err)
	}
	return nil
}
