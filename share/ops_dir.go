package share

import (
	"context"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

func (s *Session) opendir(_ context.Context, r *request) error {
	var m fuse.OpenIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	if !r.node.isDir() {
		return posix.ENOTDIR
	}
	if s.handles.full() {
		return posix.ENFILE
	}
	s.watch(r.node)
	d, err := r.node.n.OpenDir()
	if err != nil {
		return err
	}
	a, err := r.node.n.Attr()
	if err != nil {
		_ = d.Close() // it was only read
		return err
	}
	var out fuse.OpenOut
	keep := s.keepCache(r.node, &a)
	if s.trusted() && r.node.watched.Load() && !s.overtaken(r.node, r.since) {
		out.OpenFlags = fuse.FopenCacheDir
		if keep {
			out.OpenFlags |= fuse.FopenKeepCache
		}
	}
	return s.opens(r, &handle{node: r.node, dir: d}, out)
}

// dirBatch is how many entries are asked of the host at once.
const dirBatch = 128

// list appends entries of a folder to the reply while add says that there is room.
func (s *Session) list(r *request, add func(e *DirEntry, room int) bool) error {
	var m fuse.ReadIn
	m.Decode(&r.d)
	if err := r.d.End(); err != nil {
		return err
	}
	h := s.handles.get(m.FH, r.node)
	if h == nil {
		return posix.EBADF
	}
	defer s.done(h)
	if h.dir == nil {
		return posix.ENOTDIR
	}
	size := int(min(m.Size, fuse.MaxWrite))
	r.reply(size)
	for cookie := m.Offset; ; {
		entries, err := h.dir.Read(cookie, dirBatch)
		if err != nil {
			if len(r.out.b) > fuse.OutHeaderSize {
				return nil // what there is first; the next request meets it again
			}
			return err
		}
		for i := range entries {
			if !add(&entries[i], size-(len(r.out.b)-fuse.OutHeaderSize)) {
				return nil
			}
			cookie = entries[i].Cookie
		}
		if len(entries) == 0 {
			return nil
		}
	}
}

func (s *Session) readdir(_ context.Context, r *request) error {
	return s.list(r, func(e *DirEntry, room int) bool {
		if fuse.DirentSize(e.Name) > room {
			return false
		}
		r.append(fuse.Dirent{Ino: e.Ino, Off: e.Cookie, Type: e.Type, Name: e.Name})
		return true
	})
}

func (s *Session) readdirplus(_ context.Context, r *request) error {
	r.node.looking.Add(1)
	defer r.node.looking.Add(-1)
	return s.list(r, func(e *DirEntry, room int) bool {
		if fuse.DirentplusSize(e.Name) > room {
			return false
		}
		m := fuse.Direntplus{Dirent: fuse.Dirent{Ino: e.Ino, Off: e.Cookie, Type: e.Type, Name: e.Name}}
		if e.Name != "." && e.Name != ".." && !s.full(r.node, e.Name) {
			// One that has vanished, or that cannot be looked up now, is listed without.
			if h, a, err := r.node.n.Lookup(e.Name); err == nil {
				if n, err := s.nodes.add(h, a, r.node, e.Name); err == nil {
					m.Entry = s.entry(r, r.node, n, &a)
					m.Ino, m.Type = a.Ino, a.Mode&posix.S_IFMT>>12
					s.nodes.unref(n)
				}
			}
		}
		r.append(m)
		return true
	})
}

// full tells whether a listing is to leave it to the kernel to look up a name if it is
// wanted: there is little room for nodes.
func (s *Session) full(dir *node, base string) bool {
	t := &s.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID) >= t.mark && dir.children[base] == nil
}
