package share

import (
	"context"
	"errors"
	"math"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// maxOffset is the greatest size of a file, and the greatest offset in one.
const maxOffset = math.MaxInt64

func (s *Session) readFile(_ context.Context, r *request) error {
	var m fuse.ReadIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	h, err := s.file(r, m.FH)
	if err != nil {
		return err
	}
	defer s.done(h)
	if m.Size > fuse.MaxWrite || m.Offset > maxOffset {
		return posix.EINVAL
	}
	r.out = getBuffer(fuse.OutHeaderSize + int(m.Size))
	n, err := h.file.ReadAt(r.out.b[fuse.OutHeaderSize:], int64(m.Offset))
	if err != nil && n == 0 {
		return err
	}
	r.out.b = r.out.b[:fuse.OutHeaderSize+n]
	return nil
}

func (s *Session) write(ctx context.Context, r *request) error {
	var m fuse.WriteIn
	m.Decode(&r.d)
	data := r.d.Bytes(m.Size)
	if err := r.d.End(); err != nil {
		return err
	}
	if m.Size > fuse.MaxWrite {
		return posix.EINVAL
	}
	h, err := s.writable(r, m.FH)
	if err != nil {
		return err
	}
	defer s.done(h)
	if m.Offset > maxOffset-uint64(m.Size) {
		return posix.EFBIG
	}
	h.wrote.Store(true)
	if !h.direct {
		r.node.wrote()
	}
	done := s.echoFile(r.node, echoModify)
	file, appends := h.file, h.flags&posix.O_APPEND != 0
	if appends && m.WriteFlags&fuse.WriteCache != 0 {
		// A page of a mapping, which has its place: the kernel writes it back through
		// whatever handle there is.
		if file, err = r.node.n.Open(posix.O_WRONLY | h.flags&posix.O_SYNC); err != nil {
			done()
			return err
		}
		appends = false
	}
	n, err := file.WriteAt(data, int64(m.Offset), m.WriteFlags&fuse.WriteKillSUIDGID != 0)
	if file != h.file {
		err = errors.Join(err, file.Close())
	}
	done()
	if err != nil && n == 0 {
		return err
	}
	c := Change{File: r.node.fid, Off: int64(m.Offset), Len: int64(n)}
	if appends { // where its end was is the host's to know
		c.Off, c.Len = 0, -1
	}
	if h.direct {
		s.passed(ctx, r, c.Off, max(c.Len, 0)) // 0: to the end
	}
	s.changed(ctx, r.node, nil, c)
	r.append(fuse.WriteOut{Size: uint32(n)})
	return nil
}

// writable returns the request's handle of a file open for writing, with a reference.
func (s *Session) writable(r *request, fh uint64) (*handle, error) {
	h, err := s.file(r, fh)
	if err != nil {
		return nil, err
	}
	if h.flags&posix.O_ACCMODE == posix.O_RDONLY {
		s.done(h)
		return nil, posix.EBADF
	}
	return h, nil
}

func (s *Session) fsync(_ context.Context, r *request) error {
	var m fuse.FsyncIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	h := s.handles.get(m.FH, r.node)
	if h == nil {
		return posix.EBADF
	}
	defer s.done(h)
	if err := h.sync(m.Flags&fuse.FsyncFdatasync != 0); err != nil {
		return err
	}
	r.reply(0)
	return nil
}

// sync makes durable what was written. Once that failed it never succeeds again: the
// host may have dropped what it could not write, and would not say so twice.
func (h *handle) sync(dataOnly bool) error {
	if e := h.failed.Load(); e != 0 {
		return posix.Errno(e)
	}
	var err error
	if h.file != nil {
		err = h.file.Fsync(dataOnly)
	} else {
		err = h.dir.Fsync(dataOnly)
	}
	if e := posix.FromError(err); e == posix.EIO {
		h.failed.Store(uint32(e))
	}
	return err
}

func (s *Session) syncfs(_ context.Context, r *request) error {
	var m fuse.SyncfsIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	var errs []error
	for _, h := range s.handles.written() {
		errs = append(errs, h.sync(false))
		s.done(h)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.reply(0)
	return nil
}

func (s *Session) fallocate(ctx context.Context, r *request) error {
	var m fuse.FallocateIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	h, err := s.writable(r, m.FH)
	if err != nil {
		return err
	}
	defer s.done(h)
	const keep, punch, zero = posix.FALLOC_FL_KEEP_SIZE, posix.FALLOC_FL_PUNCH_HOLE, posix.FALLOC_FL_ZERO_RANGE
	switch m.Mode {
	case 0, keep, punch | keep, zero, zero | keep:
	default:
		return posix.EOPNOTSUPP
	}
	if m.Length == 0 {
		return posix.EINVAL
	}
	if m.Offset > maxOffset || m.Length > maxOffset-m.Offset {
		return posix.EFBIG
	}
	h.wrote.Store(true)
	r.node.wrote()
	done := s.echoFile(r.node, echoModify)
	if err = r.killPrivileges(r.node); err == nil {
		err = h.file.Fallocate(m.Mode, m.Offset, m.Length)
	}
	done()
	if err != nil {
		return err
	}
	s.changed(ctx, r.node, nil, Change{File: r.node.fid, Off: int64(m.Offset), Len: int64(m.Length)})
	r.reply(0)
	return nil
}

func (s *Session) lseek(_ context.Context, r *request) error {
	var m fuse.LseekIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	h, err := s.file(r, m.FH)
	if err != nil {
		return err
	}
	defer s.done(h)
	if m.Whence != posix.SEEK_DATA && m.Whence != posix.SEEK_HOLE {
		return posix.EINVAL
	}
	if m.Offset > maxOffset {
		return posix.ENXIO
	}
	off, err := h.file.Seek(m.Offset, m.Whence)
	if err != nil {
		return err
	}
	r.append(fuse.LseekOut{Offset: off})
	return nil
}

func (s *Session) copyFileRange(ctx context.Context, r *request) error {
	var m fuse.CopyFileRangeIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	if m.Flags != 0 {
		return posix.EINVAL
	}
	from, err := s.file(r, m.FHIn)
	if err != nil {
		return err
	}
	defer s.done(from)
	n := s.nodes.get(m.NodeIDOut)
	if n == nil {
		return posix.ESTALE
	}
	defer s.nodes.unref(n)
	to, err := s.writable(&request{node: n}, m.FHOut)
	if err != nil {
		return err
	}
	defer s.done(to)
	if m.OffIn > maxOffset || m.OffOut > maxOffset {
		return posix.EINVAL
	}
	const most = 1 << 30 // what the answer can say, and none waits too long
	length := min(m.Len, most, maxOffset-m.OffIn, maxOffset-m.OffOut)
	to.wrote.Store(true)
	n.wrote()
	done := s.echoFile(n, echoModify)
	var copied uint64
	if err = r.killPrivileges(n); err == nil {
		copied, err = from.file.CopyTo(to.file, m.OffIn, m.OffOut, length)
	}
	done()
	if err != nil && copied == 0 {
		return err
	}
	s.changed(ctx, n, nil, Change{File: n.fid, Off: int64(m.OffOut), Len: int64(copied)})
	r.append(fuse.WriteOut{Size: uint32(copied)})
	return nil
}

// killPrivileges takes set-user-id and the like off a file that is about to change, for
// requests that have no flag to ask for it: the kernel leaves it to the server
// (HANDLE_KILLPRIV_V2), which knows of the caller's rights the user alone.
func (r *request) killPrivileges(n *node) error {
	if r.UID == 0 {
		return nil
	}
	a, err := n.n.Attr()
	if err == nil && a.Mode&(posix.S_ISUID|posix.S_ISGID) != 0 {
		_, err = n.n.SetAttr(SetAttr{Fields: KillSUIDGID})
	}
	return err
}
