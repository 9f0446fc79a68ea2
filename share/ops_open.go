package share

import (
	"context"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// hostFlags are the flags of an open that mean something on the host. The rest is the
// guest kernel's: of O_DIRECT above all, the server's buffers are not aligned for it. A
// file that is opened for writing is opened for reading too, for what the kernel reads
// around a write.
func hostFlags(flags uint32) uint32 {
	mode := flags & posix.O_ACCMODE
	if mode == posix.O_WRONLY {
		mode = posix.O_RDWR
	}
	return mode | flags&(posix.O_APPEND|posix.O_TRUNC|posix.O_SYNC|posix.O_DSYNC)
}

func (s *Session) open(ctx context.Context, r *request) error {
	var m fuse.OpenIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	flags := hostFlags(m.Flags)
	trunc := flags&posix.O_TRUNC != 0
	if s.readOnly && (trunc || flags&posix.O_ACCMODE != posix.O_RDONLY) {
		return posix.EROFS
	}
	switch r.node.typ {
	case posix.S_IFREG:
	case posix.S_IFDIR:
		return posix.EISDIR
	default:
		return posix.ENXIO
	}
	if s.handles.full() {
		return posix.ENFILE
	}
	done := func() {}
	if trunc {
		r.node.wrote()
		done = s.echoFile(r.node, echoModify)
	}
	f, err := r.node.n.Open(flags)
	done()
	if err != nil {
		return err
	}
	h := &handle{node: r.node, file: f, flags: flags}
	if trunc && m.OpenFlags&fuse.OpenKillSUIDGID != 0 {
		if _, err := r.node.n.SetAttr(SetAttr{Fields: KillSUIDGID}); err != nil {
			_ = f.Close() // the open fails: there is nothing to lose in it
			return err
		}
	}
	if trunc {
		s.changed(ctx, r.node, nil, Change{File: r.node.fid, Len: -1})
	}
	a, err := r.node.n.Attr()
	if err != nil {
		_ = f.Close() // as above
		return err
	}
	out := fuse.OpenOut{OpenFlags: s.begin(ctx, h, m.Flags)}
	if !h.direct && s.keepCache(r.node, &a) {
		out.OpenFlags |= fuse.FopenKeepCache
	}
	if flags&posix.O_ACCMODE != posix.O_RDONLY {
		s.plainly(r, r.node)
	}
	return s.opens(r, h, out)
}

// opens answers with a new handle of the request's node, or of h's.
func (s *Session) opens(r *request, h *handle, out fuse.OpenOut) error {
	if err := s.handles.add(h); err != nil {
		_ = s.end(h) // nothing was written through it
		return err
	}
	s.nodes.ref(h.node)
	out.FH = h.id
	r.append(out)
	return nil
}

func (s *Session) create(ctx context.Context, r *request) error {
	var m fuse.CreateIn
	m.Decode(&r.d)
	base, err := r.last()
	if err != nil {
		return err
	}
	if !r.node.isDir() {
		return posix.ENOTDIR
	}
	if s.handles.full() {
		return posix.ENFILE
	}
	flags := hostFlags(m.Flags) | posix.O_CREAT | m.Flags&posix.O_EXCL
	done := s.echo(r.node, base, echoCreate)
	h, f, a, err := r.node.n.Create(base, flags, New{Mode: posix.S_IFREG | m.Mode&posix.ModeMask, Owner: r.owner()})
	done()
	if err != nil {
		return err
	}
	s.made(&a)
	list := []Change{{Dir: r.node.fid, Name: base}}
	if flags&posix.O_TRUNC != 0 {
		list = append(list, Change{File: a.ID, Len: -1})
	}
	s.changed(ctx, r.node, nil, list...)
	return s.created(ctx, r, m.Flags, base, h, f, a, flags)
}

func (s *Session) tmpfile(ctx context.Context, r *request) error {
	var m fuse.CreateIn
	m.Decode(&r.d)
	_ = r.d.Name() // the kernel sends one that means nothing
	if err := r.d.End(); err != nil {
		return err
	}
	if !r.node.isDir() {
		return posix.ENOTDIR
	}
	if s.handles.full() {
		return posix.ENFILE
	}
	flags := hostFlags(m.Flags) | m.Flags&posix.O_EXCL
	h, f, a, err := r.node.n.Tmpfile(flags, New{Mode: posix.S_IFREG | m.Mode&posix.ModeMask, Owner: r.owner()})
	if err != nil {
		return err
	}
	return s.created(ctx, r, m.Flags, "", h, f, a, flags)
}

// created answers with a file that was made and opened; without a name when base is "".
func (s *Session) created(ctx context.Context, r *request, asked uint32, base string, h Node, f File, a Attr, flags uint32) error {
	dir := r.node
	if base == "" {
		dir = nil
	}
	n, err := s.nodes.add(h, a, dir, base)
	if err != nil {
		_ = f.Close() // nothing was written through it
		return err
	}
	defer s.nodes.unref(n)
	open := &handle{node: n, file: f, flags: flags &^ posix.O_EXCL}
	out := fuse.OpenOut{OpenFlags: s.begin(ctx, open, asked)}
	if !open.direct && s.keepCache(n, &a) {
		out.OpenFlags |= fuse.FopenKeepCache
	}
	s.plainly(r, n)
	r.append(s.entry(r, dir, n, &a))
	if err := s.opens(r, open, out); err != nil {
		s.nodes.forget(n.id, 1)
		return err
	}
	return nil
}

func (s *Session) release(_ context.Context, r *request) error {
	var m fuse.ReleaseIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	h := s.handles.remove(m.FH)
	if h == nil {
		return posix.EBADF
	}
	if h.file != nil {
		s.dropLocks(h, m)
	}
	s.done(h)
	r.reply(0)
	return nil
}

// file returns the request's handle of an open file, with a reference.
func (s *Session) file(r *request, fh uint64) (*handle, error) {
	h := s.handles.get(fh, r.node)
	if h == nil {
		return nil, posix.EBADF
	}
	if h.file == nil {
		s.done(h)
		return nil, posix.EISDIR
	}
	return h, nil
}
