package share

import (
	"context"
	"strings"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// checkName refuses what is no name of one file in a folder.
func checkName(base string) error {
	switch {
	case len(base) > posix.NAME_MAX:
		return posix.ENAMETOOLONG
	case base == "" || base == "." || base == ".." || strings.ContainsAny(base, "/\x00"):
		return posix.EINVAL
	}
	return nil
}

// last reads a name that ends the message, and checks it.
func (r *request) last() (string, error) {
	base := r.d.Name()
	if err := r.d.End(); err != nil {
		return "", err
	}
	return base, checkName(base)
}

func (s *Session) lookup(_ context.Context, r *request) error {
	base, err := r.last()
	if err != nil {
		return err
	}
	if !r.node.isDir() {
		return posix.ENOTDIR
	}
	s.watch(r.node)
	r.node.looking.Add(1)
	defer r.node.looking.Add(-1)
	h, a, err := r.node.n.Lookup(base)
	if err != nil {
		if posix.FromError(err) == posix.ENOENT {
			return s.missing(r, r.node, base)
		}
		return err
	}
	return s.found(r, h, a, base)
}

// found answers with a file under a name of the request's folder.
func (s *Session) found(r *request, h Node, a Attr, base string) error {
	n, err := s.nodes.add(h, a, r.node, base)
	if err != nil {
		return err
	}
	r.append(s.entry(r, r.node, n, &a))
	s.nodes.unref(n)
	return nil
}

func (s *Session) forget(_ context.Context, r *request) error {
	r.quiet = true
	var m fuse.ForgetIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	s.forgetOne(r.NodeID, m.Nlookup)
	return nil
}

func (s *Session) batchForget(_ context.Context, r *request) error {
	r.quiet = true
	var m fuse.BatchForgetIn
	m.Decode(&r.d)
	if uint64(m.Count)*16 != uint64(r.d.Len()) {
		return fuse.ErrMalformed
	}
	for range m.Count {
		var one fuse.ForgetOne
		one.Decode(&r.d)
		s.forgetOne(one.NodeID, one.Nlookup)
	}
	return r.d.End()
}

func (s *Session) forgetOne(id, count uint64) {
	if !s.nodes.forget(id, count) {
		s.log.Debug("guest forgets more than it was told", "node", id, "count", count)
	}
}

func (s *Session) getattr(_ context.Context, r *request) error {
	var m fuse.GetattrIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	r.node.looking.Add(1)
	defer r.node.looking.Add(-1)
	a, err := r.node.n.Attr()
	if err != nil {
		return err
	}
	s.attrOut(r, r.node, &a)
	return nil
}

func (s *Session) setattr(ctx context.Context, r *request) error {
	var m fuse.SetattrIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	set := SetAttr{Mode: m.Mode & posix.ModeMask, UID: m.UID, GID: m.GID, Size: m.Size,
		Atime: Time{int64(m.Atime), m.AtimeNsec}, Mtime: Time{int64(m.Mtime), m.MtimeNsec}}
	for _, f := range [...]struct {
		bit uint32
		f   SetFields
	}{{fuse.FattrMode, SetMode}, {fuse.FattrUID, SetUID}, {fuse.FattrGID, SetGID}, {fuse.FattrSize, SetSize},
		{fuse.FattrAtime, SetAtime}, {fuse.FattrMtime, SetMtime}, {fuse.FattrAtimeNow, SetAtimeNow},
		{fuse.FattrMtimeNow, SetMtimeNow}, {fuse.FattrKillSUIDGID, KillSUIDGID}} {
		if m.Valid&f.bit != 0 {
			set.Fields |= f.f
		}
	}
	if err := s.mapChange(&set); err != nil {
		return err
	}
	const maxNsec = 999_999_999
	if m.AtimeNsec > maxNsec || m.MtimeNsec > maxNsec {
		return posix.EINVAL
	}
	if set.Fields&SetSize != 0 && m.Size > maxOffset {
		return posix.EFBIG
	}
	kind, c := echoAttrib, Change{File: r.node.fid}
	if set.Fields&SetSize != 0 {
		kind, c.Len = echoModify, -1
		r.node.wrote()
	}
	done := s.echoFile(r.node, kind)
	a, err := r.node.n.SetAttr(set)
	done()
	if err != nil {
		return err
	}
	s.changed(ctx, r.node, nil, c)
	s.attrOut(r, r.node, &a)
	return nil
}

func (s *Session) readlink(_ context.Context, r *request) error {
	if err := r.d.End(); err != nil {
		return err
	}
	target, err := r.node.n.Readlink()
	if err != nil {
		return err
	}
	r.reply(len(target))
	r.out.b = append(r.out.b, target[:min(len(target), posix.PATH_MAX-1)]...)
	return nil
}

func (s *Session) statfs(_ context.Context, r *request) error {
	if err := r.d.End(); err != nil {
		return err
	}
	f, err := r.node.n.StatFS()
	if err != nil {
		return err
	}
	r.append(fuse.StatfsOut{Blocks: f.Blocks, Bfree: f.Free, Bavail: f.Available, Files: f.Files, Ffree: f.FreeFiles,
		Bsize: f.BlockSize, Frsize: f.FragmentSize, NameLen: f.NameLen})
	return nil
}

func (s *Session) ioctl(_ context.Context, r *request) error {
	var m fuse.IoctlIn
	m.Decode(&r.d)
	if m.InSize > fuse.MaxWrite || r.d.Bytes(m.InSize) == nil && m.InSize > 0 {
		return fuse.ErrMalformed
	}
	if err := r.d.End(); err != nil {
		return err
	}
	return posix.ENOTTY
}
