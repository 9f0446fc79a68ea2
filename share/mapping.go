package share

import (
	"context"
	"sync"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// Memory is not shared between VMs: a file that two of them map and write would be two
// files until one overwrites the other. So of the sessions that have a file open for
// reading and writing at once, the first may map it, and those that come later get it
// with FOPEN_DIRECT_IO: reads and writes go to the host, MAP_SHARED is ENODEV. Which one
// it is, is a lock of the kind LockMapping.

// mappings has the files that the guest has open for reading and writing.
type mappings struct {
	mu    sync.Mutex // guards all and each mapping's uses
	files map[FileID]*mapping
}

// mapping is one of them.
type mapping struct {
	file FileID
	uses int // handles, and opens under way

	mu      sync.Mutex // held while the locker is asked; guards the rest
	handles int
	ours    bool // this session may map it
}

var mappingLock = Lock{Kind: LockMapping, Type: posix.F_WRLCK, End: maxOffset}

// mapped counts a handle among those that could map their file to write it, and says
// whether it is not to. asked are the guest's flags: to map a file one has to be able to
// read it too; with direct it is not to anyway. unmapped must be called at the handle's end.
func (s *Session) mapped(ctx context.Context, h *handle, asked uint32, direct bool) bool {
	if s.locker == nil || asked&posix.O_ACCMODE != posix.O_RDWR {
		return direct
	}
	t := &s.mappings
	t.mu.Lock()
	if t.files == nil {
		t.files = make(map[FileID]*mapping)
	}
	m := t.files[h.file.ID()]
	if m == nil {
		m = &mapping{file: h.file.ID()}
		t.files[m.file] = m
	}
	m.uses++
	t.mu.Unlock()
	h.mapping = m

	m.mu.Lock()
	defer m.mu.Unlock()
	// While there are handles all are of one sort: the kernel does not keep what is
	// mapped and what is read past its cache the same.
	if m.handles == 0 {
		// Without an answer it is another's: then nothing can go wrong.
		m.ours = !direct && s.locker.SetLock(ctx, m.file, mappingLock, false) == nil
	}
	m.handles++
	return direct || !m.ours
}

// unmapped ends what mapped began. It asks the locker apart from the requests.
func (s *Session) unmapped(h *handle) {
	m := h.mapping
	if m == nil {
		return
	}
	s.queue.wg.Go(func() {
		m.mu.Lock()
		if m.handles--; m.handles == 0 && m.ours {
			s.locker.Drop(m.file, mappingLock.Owner, LockMapping)
			m.ours = false
		}
		m.mu.Unlock()
		t := &s.mappings
		t.mu.Lock()
		defer t.mu.Unlock()
		if m.uses--; m.uses == 0 {
			delete(t.files, m.file)
		}
	})
}

// begin notes how the kernel is to use a handle, and returns what it is told at the open.
func (s *Session) begin(ctx context.Context, h *handle, asked uint32) (flags uint32) {
	n, file := h.node, h.file.ID()
	n.mu.Lock()
	// The kernel has one cache for a node. While handles use it for the file that had the
	// name before, others must not.
	h.direct = n.cached > 0 && n.pages != file
	if !h.direct {
		n.cached++ // before it is asked whether it may be: pages are of this file from now on
		if n.pages != file {
			n.pages, n.seen.known = file, false
		}
	}
	n.mu.Unlock()
	if direct := s.mapped(ctx, h, asked, h.direct); direct && !h.direct {
		h.direct = true
		n.mu.Lock()
		n.cached--
		n.mu.Unlock()
	}
	if h.direct {
		return fuse.FopenDirectIO
	}
	return 0
}

// end closes a handle that begin has begun.
func (s *Session) end(h *handle) error {
	if h.file == nil {
		return h.close()
	}
	if !h.direct {
		h.node.mu.Lock()
		h.node.cached--
		h.node.mu.Unlock()
	}
	err := h.close()
	s.unmapped(h)
	return err
}

// passed notes a write that went past the kernel's cache. When a handle of the guest uses
// the cache, the write is answered when what is old there is gone: kernels before 6.6 do
// not see to that themselves.
func (s *Session) passed(ctx context.Context, r *request, off, length int64) {
	n := r.node
	n.mu.Lock()
	n.seen.known = false
	cached := n.cached > 0
	n.mu.Unlock()
	if !cached {
		return
	}
	s.nodes.ref(n)
	r.later = func() {
		defer s.nodes.unref(n)
		t, err := s.post(ctx, n, inodeNote(n.id, off, length))
		if err != nil {
			return // the session ends
		}
		select {
		case <-t.done:
		case <-ctx.Done():
		}
	}
}
