package client

import (
	"errors"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// file is a process's handle of an open file.
type file struct {
	p *proc
	d *description
}

var _ card.File = (*file)(nil)

// open tells whether the handle has not been closed.
func (f *file) open() error {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	if _, ok := f.p.files[f]; !ok {
		return posix.EBADF
	}
	return nil
}

func (f *file) call(op fuse.Opcode, body appender, tail ...[]byte) (fuse.Decoder, error) {
	return f.p.k.call(header{op, f.d.n.id, f.p}, body, tail...)
}

func (f *file) Pread(n int, off int64) ([]byte, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	switch {
	case !f.d.reads():
		return nil, posix.EBADF
	case f.d.n.isDir():
		return nil, posix.EISDIR
	case off < 0:
		return nil, posix.EINVAL
	}
	var out []byte
	for len(out) < n {
		want := min(n-len(out), fuse.MaxWrite)
		d, err := f.call(fuse.OpRead, fuse.ReadIn{FH: f.d.fh, Offset: uint64(off) + uint64(len(out)), Size: uint32(want), Flags: f.d.flags})
		if err != nil {
			return out, err
		}
		b := d.Rest()
		if len(b) > want {
			return out, posix.EIO
		}
		out = append(out, b...)
		if len(b) < want {
			break
		}
	}
	return out, nil
}

func (f *file) Read(n int) ([]byte, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	b, err := f.Pread(n, f.d.offset)
	f.d.offset += int64(len(b))
	return b, err
}

func (f *file) Pwrite(b []byte, off int64) (int, error) {
	n, _, err := f.write(b, off)
	return n, err
}

func (f *file) Write(b []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n, end, err := f.write(b, f.d.offset)
	if n > 0 {
		f.d.offset = end
	}
	return n, err
}

// write writes at an offset, or at the end, and returns where it ended.
func (f *file) write(b []byte, off int64) (n int, end int64, err error) {
	if err := f.open(); err != nil {
		return 0, 0, err
	}
	switch {
	case !f.d.writes():
		return 0, 0, posix.EBADF
	case off < 0:
		return 0, 0, posix.EINVAL
	case len(b) == 0:
		return 0, off, nil
	}
	if f.d.flags&posix.O_APPEND != 0 {
		a, err := f.attrs()
		if err != nil {
			return 0, 0, err
		}
		off = int64(a.Size)
	}
	in := fuse.WriteIn{FH: f.d.fh, Flags: f.d.flags}
	if !f.p.root() && f.p.k.flags&fuse.HandleKillprivV2 != 0 {
		in.WriteFlags = fuse.WriteKillSUIDGID
	}
	for n < len(b) {
		part := b[n:min(len(b), n+fuse.MaxWrite)]
		in.Offset, in.Size = uint64(off)+uint64(n), uint32(len(part))
		d, err := f.call(fuse.OpWrite, in, part)
		if err != nil {
			return n, off + int64(n), err
		}
		var out fuse.WriteOut
		out.Decode(&d)
		if d.Err() != nil || out.Size > in.Size {
			return n, off + int64(n), posix.EIO
		}
		n += int(out.Size)
		if out.Size < in.Size {
			break
		}
	}
	return n, off + int64(n), nil
}

func (f *file) Lseek(off int64, whence uint32) (int64, error) {
	if err := f.open(); err != nil {
		return 0, err
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	switch whence {
	case posix.SEEK_SET:
	case posix.SEEK_CUR:
		off += f.d.offset
	case posix.SEEK_END, posix.SEEK_DATA, posix.SEEK_HOLE:
		a, err := f.attrs()
		if err != nil {
			return 0, err
		}
		if whence == posix.SEEK_END {
			off += int64(a.Size)
			break
		}
		if off < 0 {
			return 0, posix.ENXIO
		}
		d, err := f.call(fuse.OpLseek, fuse.LseekIn{FH: f.d.fh, Offset: uint64(off), Whence: whence})
		if err != nil {
			return 0, err
		}
		var out fuse.LseekOut
		out.Decode(&d)
		if d.Err() != nil {
			return 0, posix.EIO
		}
		off = int64(out.Offset)
	default:
		return 0, posix.EINVAL
	}
	if off < 0 {
		return 0, posix.EINVAL
	}
	f.d.offset = off
	if f.d.n.isDir() {
		f.d.cookie = uint64(off)
	}
	return off, nil
}

// Readdir reads a folder from its beginning with READDIRPLUS and on with READDIR, as the
// kernel's automatic choice does.
func (f *file) Readdir() ([]share.DirEntry, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	switch {
	case !f.d.n.isDir():
		return nil, posix.ENOTDIR
	case !f.d.hasFH:
		return nil, posix.EBADF
	case f.d.n.isDead(f.p.k):
		return nil, posix.ENOENT
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	op := fuse.OpReaddir
	if f.d.cookie == 0 {
		op = fuse.OpReaddirplus
	}
	d, err := f.call(op, fuse.ReadIn{FH: f.d.fh, Offset: f.d.cookie, Size: 4096, Flags: f.d.flags})
	if err != nil {
		return nil, err
	}
	var out []share.DirEntry
	for d.Len() > 0 {
		var e fuse.Direntplus
		if op == fuse.OpReaddirplus {
			e.Decode(&d)
		} else {
			e.Dirent.Decode(&d)
		}
		if d.Err() != nil {
			return nil, posix.EIO
		}
		if err := f.plus(e); err != nil {
			return nil, err
		}
		out = append(out, share.DirEntry{Name: e.Dirent.Name, Ino: e.Dirent.Ino, Type: e.Dirent.Type, Cookie: e.Dirent.Off})
		f.d.cookie = e.Dirent.Off
	}
	return out, nil
}

// plus takes the lookup that an entry of READDIRPLUS came with, and gives it back.
func (f *file) plus(e fuse.Direntplus) error {
	name := e.Dirent.Name
	switch {
	case name == "." || name == "..":
		if e.Entry.NodeID != 0 {
			return posix.EIO // the kernel would count no lookup for these
		}
		return nil
	case e.Entry.NodeID == 0:
		return nil
	case e.Entry.Attr.Mode>>12 != e.Dirent.Type || e.Entry.Attr.Ino != e.Dirent.Ino:
		return posix.EIO
	}
	n, err := f.p.k.adopt(f.d.n, e.Entry)
	if err == nil {
		f.p.k.put(n)
	}
	return err
}

func (f *file) Stat() (share.Attr, error) {
	if err := f.open(); err != nil {
		return share.Attr{}, err
	}
	return f.attrs()
}

// change runs a change of attributes through the handle.
func (f *file) change(call func(t target) error) error {
	if err := f.open(); err != nil {
		return err
	}
	if f.d.flags&posix.O_PATH != 0 {
		return posix.EBADF
	}
	return call(target{f.d.n, f.d})
}

func (f *file) Chmod(mode uint32) error {
	return f.change(func(t target) error { return f.p.chmod(t, mode) })
}

func (f *file) Chown(uid, gid uint32) error {
	return f.change(func(t target) error { return f.p.chown(t, uid, gid) })
}

func (f *file) Truncate(size int64) error {
	return f.change(func(t target) error {
		if size < 0 || !f.d.writes() || f.d.n.kind != posix.S_IFREG {
			return posix.EINVAL
		}
		return f.p.truncate(t, size)
	})
}

func (f *file) Utimens(atime, mtime card.Timespec) error {
	if atime.Omit && mtime.Omit {
		return nil
	}
	return f.change(func(t target) error { return f.p.utimens(t, atime, mtime) })
}

func (f *file) Sync(dataOnly bool) error {
	if err := f.open(); err != nil {
		return err
	}
	if !f.d.hasFH {
		return posix.EBADF
	}
	in, op := fuse.FsyncIn{FH: f.d.fh}, fuse.OpFsync
	if dataOnly {
		in.Flags = fuse.FsyncFdatasync
	}
	if f.d.n.isDir() {
		op = fuse.OpFsyncdir
	}
	_, err := f.call(op, in)
	return err
}

func (f *file) Fallocate(mode uint32, off, length int64) error {
	if err := f.open(); err != nil {
		return err
	}
	const keep, punch, zero = posix.FALLOC_FL_KEEP_SIZE, posix.FALLOC_FL_PUNCH_HOLE, posix.FALLOC_FL_ZERO_RANGE
	switch {
	case off < 0 || length <= 0:
		return posix.EINVAL
	case mode&^(keep|punch|zero) != 0, mode&punch != 0 && mode&keep == 0, mode&(punch|zero) == punch|zero:
		return posix.EOPNOTSUPP
	case !f.d.writes():
		return posix.EBADF
	case off+length < 0:
		return posix.EFBIG
	}
	_, err := f.call(fuse.OpFallocate, fuse.FallocateIn{FH: f.d.fh, Offset: uint64(off), Length: uint64(length), Mode: mode})
	return err
}

func (f *file) CopyTo(other card.File, off, toOff int64, length int) (int, error) {
	to := other.(*file)
	if err := errors.Join(f.open(), to.open()); err != nil {
		return 0, posix.EBADF
	}
	switch {
	case f.d.n.isDir() || to.d.n.isDir():
		return 0, posix.EISDIR
	case !f.d.reads() || !to.d.writes() || to.d.flags&posix.O_APPEND != 0:
		return 0, posix.EBADF
	}
	a, err := f.attrs()
	if err != nil {
		return 0, err
	}
	if length = int(min(int64(length), int64(a.Size)-off)); length <= 0 {
		return 0, nil
	}
	if f.d.n == to.d.n && off < toOff+int64(length) && toOff < off+int64(length) {
		return 0, posix.EINVAL
	}
	d, err := f.call(fuse.OpCopyFileRange, fuse.CopyFileRangeIn{FHIn: f.d.fh, OffIn: uint64(off),
		NodeIDOut: to.d.n.id, FHOut: to.d.fh, OffOut: uint64(toOff), Len: uint64(length)})
	if err == posix.ENOSYS || err == posix.EOPNOTSUPP || err == posix.EXDEV {
		return f.copyByHand(to, off, toOff, length)
	}
	if err != nil {
		return 0, err
	}
	var out fuse.WriteOut
	out.Decode(&d)
	return int(out.Size), d.Err()
}

// copyByHand is what the kernel does when the server does not copy.
func (f *file) copyByHand(to *file, off, toOff int64, length int) (int, error) {
	b, err := f.Pread(length, off)
	if err != nil {
		return 0, err
	}
	return to.Pwrite(b, toOff)
}

func (f *file) Linkat(path string) error {
	a, err := f.Stat()
	if err != nil {
		return err
	}
	return f.p.linkInode(f.d.n, a, path, f.d.noLink || a.Nlink == 0 && !f.d.linked)
}

func (f *file) Dup() (card.File, error) {
	if err := f.open(); err != nil {
		return nil, err
	}
	f.d.mu.Lock()
	f.d.refs++
	f.d.mu.Unlock()
	return f.p.install(f.d), nil
}
