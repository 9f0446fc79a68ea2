package card

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// realFile is a file descriptor of a realProc.
type realFile struct {
	p  *realProc
	fd int
}

var _ interface {
	File
	Mapper
} = (*realFile)(nil)

// Open implements Proc.
func (p *realProc) Open(path string, flags, mode uint32) (File, error) {
	f := &realFile{p: p}
	err := p.do(func() (err error) {
		f.fd, err = unix.Open(path, int(flags)|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// aligned returns n bytes that begin where O_DIRECT wants them.
func aligned(n int) []byte {
	const page = 4096
	b := make([]byte, n+page)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (page - 1))
	return b[skip : skip+n]
}

// transfer runs a call that moves bytes.
func (f *realFile) transfer(call func() (int, error)) (n int, err error) {
	err = f.p.do(func() (err error) { n, err = call(); return err })
	return max(n, 0), err
}

func (f *realFile) Pread(n int, off int64) ([]byte, error) {
	b := aligned(n)
	n, err := f.transfer(func() (int, error) { return unix.Pread(f.fd, b, off) })
	return b[:n], err
}

func (f *realFile) Pwrite(b []byte, off int64) (int, error) {
	c := aligned(len(b))
	copy(c, b)
	return f.transfer(func() (int, error) { return unix.Pwrite(f.fd, c, off) })
}

func (f *realFile) Read(n int) ([]byte, error) {
	b := aligned(n)
	n, err := f.transfer(func() (int, error) { return unix.Read(f.fd, b) })
	return b[:n], err
}

func (f *realFile) Write(b []byte) (int, error) {
	c := aligned(len(b))
	copy(c, b)
	return f.transfer(func() (int, error) { return unix.Write(f.fd, c) })
}

func (f *realFile) Lseek(off int64, whence uint32) (at int64, err error) {
	err = f.p.do(func() (err error) { at, err = unix.Seek(f.fd, off, int(whence)); return err })
	return at, err
}

// Readdir reads struct linux_dirent64: ino, off, reclen, type, name.
func (f *realFile) Readdir() ([]share.DirEntry, error) {
	b := make([]byte, 4096)
	n, err := f.transfer(func() (int, error) { return unix.Getdents(f.fd, b) })
	var out []share.DirEntry
	for b = b[:n]; len(b) > 0; {
		size := binary.NativeEndian.Uint16(b[16:])
		name, _, _ := bytes.Cut(b[19:size], []byte{0})
		out = append(out, share.DirEntry{
			Name: string(name), Ino: binary.NativeEndian.Uint64(b), Type: uint32(b[18]), Cookie: binary.NativeEndian.Uint64(b[8:]),
		})
		b = b[size:]
	}
	return out, err
}

func (f *realFile) Stat() (share.Attr, error) {
	var st unix.Stat_t
	err := f.p.do(func() error { return unix.Fstat(f.fd, &st) })
	return attrOf(&st), err
}

func (f *realFile) Chmod(mode uint32) error {
	return f.p.do(func() error { return unix.Fchmod(f.fd, mode) })
}

func (f *realFile) Chown(uid, gid uint32) error {
	return f.p.do(func() error { return unix.Fchown(f.fd, int(int32(uid)), int(int32(gid))) })
}

func (f *realFile) Truncate(size int64) error {
	return f.p.do(func() error { return unix.Ftruncate(f.fd, size) })
}

func (f *realFile) Utimens(atime, mtime Timespec) error {
	ts := timespecs(atime, mtime)
	return f.p.do(func() error {
		_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(f.fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
		if e != 0 {
			return e
		}
		return nil
	})
}

func (f *realFile) Sync(dataOnly bool) error {
	return f.p.do(func() error {
		if dataOnly {
			return unix.Fdatasync(f.fd)
		}
		return unix.Fsync(f.fd)
	})
}

func (f *realFile) Fallocate(mode uint32, off, length int64) error {
	return f.p.do(func() error { return unix.Fallocate(f.fd, mode, off, length) })
}

func (f *realFile) CopyTo(to File, off, toOff int64, length int) (int, error) {
	return f.transfer(func() (int, error) {
		return unix.CopyFileRange(f.fd, &off, to.(*realFile).fd, &toOff, length, 0)
	})
}

func (f *realFile) Linkat(path string) error {
	return f.p.do(func() error { return unix.Linkat(f.fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH) })
}

func flockOf(typ uint32, start, length int64) *unix.Flock_t {
	return &unix.Flock_t{Type: int16(typ), Start: start, Len: length}
}

func (f *realFile) Lock(kind LockKind, typ uint32, start, length int64, wait bool) error {
	cmd := map[LockKind][2]int{LockPOSIX: {unix.F_SETLK, unix.F_SETLKW}, LockOFD: {unix.F_OFD_SETLK, unix.F_OFD_SETLKW}}[kind][bit(wait)]
	return f.p.do(func() error { return unix.FcntlFlock(uintptr(f.fd), cmd, flockOf(typ, start, length)) })
}

func (f *realFile) GetLock(kind LockKind, typ uint32, start, length int64) (uint32, int64, int64, error) {
	cmd := map[LockKind]int{LockPOSIX: unix.F_GETLK, LockOFD: unix.F_OFD_GETLK}[kind]
	l := flockOf(typ, start, length)
	err := f.p.do(func() error { return unix.FcntlFlock(uintptr(f.fd), cmd, l) })
	return uint32(l.Type), l.Start, l.Len, err
}

func (f *realFile) Flock(typ uint32, wait bool) error {
	how := map[uint32]int{posix.F_RDLCK: unix.LOCK_SH, posix.F_WRLCK: unix.LOCK_EX, posix.F_UNLCK: unix.LOCK_UN}[typ]
	if !wait {
		how |= unix.LOCK_NB
	}
	return f.p.do(func() error { return unix.Flock(f.fd, how) })
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (f *realFile) Dup() (File, error) {
	d := &realFile{p: f.p}
	err := f.p.do(func() (err error) { d.fd, err = unix.Dup(f.fd); return err })
	return d, err
}

// Close makes the handle one of no file: its number may become another file's.
func (f *realFile) Close() error {
	return f.p.do(func() error {
		fd := f.fd
		f.fd = -1
		return unix.Close(fd)
	})
}

// Mmap implements Mapper. A mapping belongs to all threads.
func (f *realFile) Mmap(off int64, length int) (b []byte, unmap func() error, err error) {
	err = f.p.do(func() (err error) {
		b, err = unix.Mmap(f.fd, off, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	})
	return b, func() error { return errno(unix.Munmap(b)) }, err
}
