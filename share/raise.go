package share

import (
	"context"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// raise has the guest's kernel raise the inotify events of a happening. What cannot be
// raised is left at the drop of caches, which has been done.
func (s *Session) raise(ctx context.Context, h *happening) {
	if s.tid.Load() == 0 || !s.opened.Load() {
		s.rekey(h)
		return
	}
	dir := s.nodes.find(h.Dir)
	if h.Kind == EventRename {
		s.raiseRename(ctx, h, dir)
	} else if dir != nil {
		s.raiseAt(ctx, h, dir)
	}
	if dir != nil {
		s.nodes.unref(dir)
	}
}

// raiseRename: a folder that the guest does not know has nobody that watches it.
func (s *Session) raiseRename(ctx context.Context, h *happening, dir *node) {
	to := s.nodes.find(h.NewDir)
	if to != nil {
		defer s.nodes.unref(to)
	}
	switch {
	case dir != nil && to != nil:
		if !s.injectOne(ctx, &armed{kind: fuse.InjectRename, dir: dir, name: h.Name, to: to, newName: h.NewName,
			target: h.node, old: h.old, typ: h.typeOf()}) {
			s.rekey(h)
		}
	case dir != nil:
		h.Kind = EventRemove
		s.raiseAt(ctx, h, dir)
	case to != nil:
		h.Kind, h.Dir, h.Name = EventCreate, h.NewDir, h.NewName
		s.raiseAt(ctx, h, to)
	}
}

func (s *Session) raiseAt(ctx context.Context, h *happening, dir *node) {
	a := &armed{dir: dir, name: h.Name, target: h.node, typ: h.typeOf()}
	switch h.Kind {
	case EventCreate:
		s.raiseCreate(ctx, h, a)
	case EventRemove:
		if h.Name == "" {
			return // its own folder tells of it
		}
		a.kind = fuse.InjectUnlink
		if a.typ == posix.S_IFDIR {
			a.kind = fuse.InjectRmdir
		}
		if !s.injectOne(ctx, a) {
			s.rekey(h)
		}
	case EventModify:
		s.raiseModify(ctx, h, a)
	case EventClose:
		s.raiseClose(ctx, a)
	case EventAttrib:
		attr, ok := s.current(a)
		if !ok {
			return
		}
		a.kind, a.mode, a.typ = fuse.InjectChmod, attr.Mode&posix.ModeMask, attr.Mode&posix.S_IFMT
		if a.typ == posix.S_IFLNK { // its mode cannot be set
			a.kind = fuse.InjectTouch
		}
		s.injectOne(ctx, a)
	}
}

// current returns the attributes of what is at the armed name now.
func (s *Session) current(a *armed) (Attr, bool) {
	if a.name == "" {
		attr, err := a.dir.n.Attr()
		return attr, err == nil
	}
	h, attr, err := a.dir.n.Lookup(a.name)
	if err != nil {
		return Attr{}, false
	}
	h.Release()
	return attr, true
}

func (s *Session) raiseCreate(ctx context.Context, h *happening, a *armed) {
	a.mode, a.kind = a.typ|0o644, fuse.InjectMknod
	attr, ok := s.current(a)
	if ok {
		a.mode, a.typ, a.rdev = attr.Mode, attr.Mode&posix.S_IFMT, attr.Rdev
	}
	switch a.typ {
	case posix.S_IFDIR:
		a.kind, a.mode = fuse.InjectMkdir, a.mode&posix.ModeMask
	case posix.S_IFLNK:
		a.kind = fuse.InjectSymlink
	}
	s.injectOne(ctx, a)
	if h.closed && ok {
		s.raiseClose(ctx, &armed{dir: a.dir, name: a.name, typ: a.typ})
	}
}

// raiseClose is for a file that was closed by who could have written it.
func (s *Session) raiseClose(ctx context.Context, a *armed) {
	if attr, ok := s.current(a); ok && attr.Mode&posix.S_IFMT == posix.S_IFREG {
		a.kind, a.typ = fuse.InjectClose, posix.S_IFREG
		s.injectOne(ctx, a)
	}
}

func (s *Session) raiseModify(ctx context.Context, h *happening, a *armed) {
	attr, ok := s.current(a)
	if !ok || attr.Mode&posix.S_IFMT != posix.S_IFREG {
		return // gone already, or nothing that is written through
	}
	a.kind = fuse.InjectModify
	if attr.Size == 0 && !h.closed {
		a.kind = fuse.InjectTruncate
	}
	s.injectOne(ctx, a)
}
