package share

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// Restore makes a session that was not served yet go on where Save left another, for a guest
// that is a copy of that one's. Files are those that have the paths now; what has none, or
// has become of another type, is ESTALE to the guest, and so is what was open of it. Serve
// makes the guest forget all that it has cached before anything else. ErrTable when the guest
// was promised what this session cannot keep.
func (s *Session) Restore(ctx context.Context, saved []byte) error {
	var t table
	if err := json.Unmarshal(saved, &t); err != nil {
		return fmt.Errorf("restore share: %w: %w", ErrTable, err)
	}
	if err := s.takes(t); err != nil {
		return fmt.Errorf("restore share: %w", err)
	}
	if err := s.restoreNodes(t); err != nil {
		return fmt.Errorf("restore share: %w", err)
	}
	if err := s.restoreHandles(ctx, t); err != nil {
		return fmt.Errorf("restore share: %w", err)
	}
	s.expire.Store(t.Expire)
	s.tid.Store(t.TID)
	s.restored = true
	s.opened.Store(true)
	return nil
}

// takes refuses what the guest's kernel was told once, at INIT, and is not so here.
func (s *Session) takes(t table) error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrTable, what) }
	switch {
	case t.Version != tableVersion:
		return bad(fmt.Sprintf("format %d, this build reads %d", t.Version, tableVersion))
	case t.Single != (s.single != nil):
		return bad("one is a file, the other a folder")
	case t.Trusted && !s.trusted():
		return bad("changes of this file system are not told")
	case t.Private != s.private:
		return bad("one is a pod's own, the other may be others' too")
	case t.NoSecurity && !s.features.NoSecurity:
		return bad("files of this file system may have capabilities")
	case len(t.Missing) > maxMisses || len(t.Nodes) >= s.limits.Nodes || len(t.Handles) >= s.limits.Handles:
		return bad(fmt.Sprintf("%d files and %d open ones", len(t.Nodes), len(t.Handles)))
	case t.NextNode <= fuse.RootID || t.NextHandle < 1:
		return bad("its numbers")
	}
	return nil
}

// lost is a file of the guest's that is not there.
type lost struct{ *ghost }

func (lost) Attr() (Attr, error)               { return Attr{}, posix.ESTALE }
func (lost) Lookup(string) (Node, Attr, error) { return nil, Attr{}, posix.ESTALE }
func (lost) Getxattr(string) ([]byte, error)   { return nil, posix.ESTALE }
func (lost) Listxattr() ([]string, error)      { return nil, posix.ESTALE }
func (lost) Unlink(string) error               { return posix.ESTALE }
func (lost) Rmdir(string) error                { return posix.ESTALE }

// restoreNodes finds the files by their paths. No request comes meanwhile.
func (s *Session) restoreNodes(saved table) error {
	t := &s.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tn := range saved.Nodes {
		if tn.ID <= fuse.RootID || tn.ID >= saved.NextNode || t.byID[tn.ID] != nil {
			return fmt.Errorf("%w: file number %d", ErrTable, tn.ID)
		}
		n := &node{id: tn.ID, typ: tn.Type, lookups: tn.Lookups}
		dir := t.byID[tn.Parent]
		n.n, n.fid = s.foundAt(dir, tn)
		t.byID[n.id] = n
		if _, gone := n.n.(lost); gone {
			t.setMissing(dir, string(tn.Name)) // the kernel is to forget what it was
			continue
		}
		if t.byFID[n.fid] == nil {
			t.byFID[n.fid] = n
		}
		t.setLink(dir, string(tn.Name), n)
	}
	for _, m := range saved.Missing {
		t.setMissing(t.byID[m.Dir], string(m.Name))
	}
	t.next = saved.NextNode
	return nil
}

// setMissing notes a name that the kernel may have cached. The caller holds mu.
func (t *nodeTable) setMissing(dir *node, base string) {
	if dir == nil || !validName(base) {
		return
	}
	if _, known := dir.missing[base]; known {
		return
	}
	if dir.missing == nil {
		dir.missing = make(map[string]struct{})
	}
	dir.missing[base] = struct{}{}
	t.misses++
}

// foundAt is the file of a name, or the lost one.
func (s *Session) foundAt(dir *node, tn tableNode) (Node, FileID) {
	name := string(tn.Name)
	if dir != nil && validName(name) {
		n, a, err := dir.n.Lookup(name)
		if err == nil && a.Mode&posix.S_IFMT == tn.Type {
			return n, a.ID
		}
		if err == nil {
			n.Release()
		}
	}
	g := lost{newGhost(tn.Type)}
	return g, g.attr.ID
}

// validName says whether a name is one that a Backend takes.
func validName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 255 {
		return false
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return true
}

// restoreHandles opens again what was open.
func (s *Session) restoreHandles(ctx context.Context, saved table) error {
	for _, th := range saved.Handles {
		n := s.nodes.get(th.Node) // the reference is the handle's
		if n == nil || th.ID < 1 || th.ID >= saved.NextHandle || th.Dir != n.isDir() {
			return fmt.Errorf("%w: open file number %d", ErrTable, th.ID)
		}
		h := &handle{id: th.ID, refs: 1, node: n, flags: th.Flags, direct: th.Direct}
		if th.Dir {
			if h.dir = s.openDirAgain(n); h.dir == nil {
				h.dir = lostDir{}
			}
		} else if h.file = s.openAgain(ctx, h, th); h.file == nil {
			h.file, h.direct = lostFile{n.fid}, true
		}
		s.handles.mu.Lock()
		taken := s.handles.byID[h.id] != nil
		if !taken {
			s.handles.byID[h.id] = h
		}
		s.handles.mu.Unlock()
		if taken {
			return fmt.Errorf("%w: open file number %d is there twice", ErrTable, th.ID)
		}
	}
	s.handles.mu.Lock()
	s.handles.next = saved.NextHandle
	s.handles.mu.Unlock()
	return nil
}

func (s *Session) openDirAgain(n *node) Dir {
	d, err := n.n.OpenDir()
	if err != nil {
		return nil
	}
	return d
}

// openAgain opens a file as it was open, and has it used by the kernel as it was told then:
// nil where that cannot be.
func (s *Session) openAgain(ctx context.Context, h *handle, th tableHandle) File {
	flags := th.Flags &^ (posix.O_CREAT | posix.O_EXCL | posix.O_TRUNC)
	if s.readOnly && flags&posix.O_ACCMODE != posix.O_RDONLY {
		return nil
	}
	f, err := h.node.n.Open(flags)
	if err != nil {
		return nil
	}
	h.file = f
	asked := uint32(posix.O_RDONLY)
	if th.Mapped {
		asked = posix.O_RDWR
	}
	told := s.begin(ctx, h, asked)
	if direct := told&fuse.FopenDirectIO != 0; direct && !th.Direct {
		_ = s.end(h) // nothing was written through it
		h.mapping = nil
		return nil
	}
	if th.Direct && !h.direct { // what the kernel does not cache it need not
		h.node.mu.Lock()
		h.node.cached--
		h.node.mu.Unlock()
		h.direct = true
	}
	return f
}

// lostFile is an open file that is not there.
type lostFile struct{ id FileID }

func (f lostFile) ID() FileID                                        { return f.id }
func (lostFile) ReadAt([]byte, int64) (int, error)                   { return 0, posix.ESTALE }
func (lostFile) WriteAt([]byte, int64, bool) (int, error)            { return 0, posix.ESTALE }
func (lostFile) Fsync(bool) error                                    { return posix.ESTALE }
func (lostFile) Fallocate(uint32, uint64, uint64) error              { return posix.ESTALE }
func (lostFile) Seek(uint64, uint32) (uint64, error)                 { return 0, posix.ESTALE }
func (lostFile) CopyTo(File, uint64, uint64, uint64) (uint64, error) { return 0, posix.ESTALE }
func (lostFile) Close() error                                        { return nil }

// lostDir is an open folder that is not there.
type lostDir struct{}

func (lostDir) Read(uint64, int) ([]DirEntry, error) { return nil, posix.ESTALE }
func (lostDir) Fsync(bool) error                     { return posix.ESTALE }
func (lostDir) Close() error                         { return nil }

// renew makes the guest's kernel forget what it has cached of other files than it has now.
func (s *Session) renew(ctx context.Context) {
	if !s.restored {
		return
	}
	defer close(s.renewed)
	if root := s.nodes.get(fuse.RootID); root != nil {
		s.watch(root)
		s.nodes.unref(root)
	}
	if err := s.invalidateAll(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("make a restored guest forget", "error", err)
	}
	// What was sent has been carried out when all slots are free again.
	for range maxNotes {
		select {
		case s.notes.slots <- struct{}{}:
		case <-ctx.Done():
			return
		case <-s.notes.ended:
			return
		}
	}
	for range maxNotes {
		<-s.notes.slots
	}
}

// Renewed is closed when the guest of a restored session has forgotten what it had cached,
// or the session has ended. Before that, nothing may run in the guest that uses the share.
func (s *Session) Renewed() <-chan struct{} { return s.renewed }
