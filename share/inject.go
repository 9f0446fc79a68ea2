package share

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

const (
	injectFor   = 2 * time.Second // how long an injection is answered in its own way
	injectTries = 3
	// magicFH is the handle of a file that the injector has open to be seen writing it.
	magicFH = 1<<64 - 1
)

// armed is the injection under way: what the injector's requests are expected to be. It
// is immutable once armed, but for nodes' own state.
type armed struct {
	id         uint64
	kind       fuse.InjectKind
	dir, to    *node // to: of renames
	name       string
	newName    string
	target     *node // what the guest knows, or nil; with a reference of the caller's
	old        *node // of renames: what the guest knows at newName
	typ        uint32
	mode, rdev uint32
	again      bool // an earlier try failed
}

// injector carries out injections, one at a time, by the relay's injector thread.
type injector struct {
	turn sync.Mutex // held during an injection
	now  atomic.Pointer[armed]
	next uint64 // guarded by turn

	mu   sync.Mutex // guards the rest
	wait uint64     // id of the injection whose answer is expected, 0 for none
	done chan posix.Errno
}

func (i *injector) init() { i.done = make(chan posix.Errno, 1) }

// acked takes the relay's answer.
func (i *injector) acked(m fuse.Injected) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if m.ID == i.wait && m.ID != 0 {
		i.wait = 0
		i.done <- posix.Errno(m.Errno)
	}
}

// injectOne does one injection, and returns whether the kernel took it.
func (s *Session) injectOne(ctx context.Context, a *armed) bool {
	i := &s.inject
	i.turn.Lock()
	defer i.turn.Unlock()
	for range injectTries {
		msg, ok := s.injection(a)
		if !ok {
			return false
		}
		i.next++
		a.id = i.next
		msg.ID = a.id
		i.now.Store(a)
		e := s.tryInject(ctx, a, msg)
		i.now.Store(nil)
		if e == 0 {
			return true
		}
		if ctx.Err() != nil || e == posix.ETIMEDOUT {
			return false
		}
		again := *a // the requests of an earlier try may still look at it
		again.again = true
		a = &again
	}
	return false
}

// injection says what the injector is to do, by the paths that the guest has now.
func (s *Session) injection(a *armed) (fuse.Inject, bool) {
	join := func(dir *node, base string) (string, bool) {
		p, ok := s.nodes.path(dir)
		p = strings.TrimPrefix(p+"/"+base, "/")
		return strings.TrimSuffix(p, "/"), ok && len(p) < posix.PATH_MAX
	}
	m := fuse.Inject{Kind: a.kind, Mode: a.mode, Rdev: a.rdev}
	var ok bool
	if m.Path, ok = join(a.dir, a.name); !ok {
		return m, false
	}
	if a.to != nil {
		m.To, ok = join(a.to, a.newName)
	}
	return m, ok
}

// tryInject drops what the kernel may know that would be in the way, sends the command,
// and waits for its end.
func (s *Session) tryInject(ctx context.Context, a *armed, msg fuse.Inject) posix.Errno {
	timed, cancel := context.WithTimeout(ctx, injectFor)
	defer cancel()
	var drop []Change
	switch a.kind {
	case fuse.InjectMknod, fuse.InjectMkdir, fuse.InjectSymlink:
		drop = []Change{{Dir: a.dir.fid, Name: a.name}}
	case fuse.InjectUnlink, fuse.InjectRmdir:
		if a.again { // the guest may have seen meanwhile that the name is gone
			drop = []Change{{Dir: a.dir.fid, Name: a.name}}
		}
	case fuse.InjectRename:
		if a.old == nil {
			drop = []Change{{Dir: a.to.fid, Name: a.newName}}
		}
	}
	if err := s.Invalidate(timed, drop); err != nil {
		return posix.ETIMEDOUT
	}
	i := &s.inject
	i.mu.Lock()
	i.wait = msg.ID
	i.mu.Unlock()
	if err := s.out.write(fuse.AppendNotify(nil, fuse.CodeInject, msg)); err != nil {
		return posix.ENOTCONN
	}
	select {
	case e := <-i.done:
		return e
	case <-timed.Done():
	}
	if ctx.Err() != nil {
		return posix.ENOTCONN
	}
	// The injector may hang in the guest's kernel. Its requests are refused from now on;
	// there is no other injection before this one has ended.
	i.now.Store(nil)
	s.log.Warn("an injected event takes long", "kind", msg.Kind)
	select {
	case <-i.done:
	case <-ctx.Done():
	}
	return posix.ETIMEDOUT
}

// mine tells whether a request is the injector's, or of a file that it has open.
func (i *injector) mine(s *Session, r *request) bool {
	if r.PID != 0 && r.PID == s.tid.Load() {
		return true
	}
	if r.Opcode != fuse.OpRelease && r.Opcode != fuse.OpFlush {
		return false
	}
	d := r.d
	var fh fuse.ForgetIn // the handle is the first field of both
	fh.Decode(&d)
	return fh.Nlookup == magicFH
}

// serve answers the injector's requests that are what is armed. Of the others it lets
// through what changes nothing: walks to the file. It returns whether it has answered.
func (i *injector) serve(s *Session, r *request) (bool, error) {
	d := r.d // what is let through is decoded again
	a := i.now.Load()
	switch r.Opcode {
	case fuse.OpRelease, fuse.OpFlush:
		var m fuse.ForgetIn
		m.Decode(&d)
		if m.Nlookup != magicFH {
			return false, nil
		}
		r.reply(0)
		return true, nil
	case fuse.OpLookup:
		if a != nil {
			return i.lookup(s, r, a, d.Name())
		}
		return false, nil
	case fuse.OpOpen:
		if a == nil || a.kind != fuse.InjectModify && a.kind != fuse.InjectClose {
			return true, posix.ECANCELED
		}
		r.append(fuse.OpenOut{FH: magicFH, OpenFlags: fuse.FopenDirectIO})
		return true, nil
	case fuse.OpWrite:
		var m fuse.WriteIn
		m.Decode(&d)
		if a == nil || a.kind != fuse.InjectModify || m.FH != magicFH {
			return true, posix.ECANCELED
		}
		r.append(fuse.WriteOut{Size: m.Size})
		return true, nil
	case fuse.OpSetattr:
		return true, i.setattr(s, r, a)
	case fuse.OpMknod:
		var m fuse.MknodIn
		m.Decode(&d)
		return true, i.create(s, r, a, fuse.InjectMknod, d.Name())
	case fuse.OpMkdir:
		var m fuse.MkdirIn
		m.Decode(&d)
		return true, i.create(s, r, a, fuse.InjectMkdir, d.Name())
	case fuse.OpSymlink:
		return true, i.create(s, r, a, fuse.InjectSymlink, d.Name())
	case fuse.OpUnlink, fuse.OpRmdir:
		if a == nil || a.kind != fuse.InjectUnlink && a.kind != fuse.InjectRmdir || !a.at(r, d.Name()) ||
			!s.mayTake(a.dir, a.name, a.target) {
			return true, posix.ECANCELED
		}
		if a.target != nil {
			s.nodes.unlink(a.dir, a.name, a.target)
		}
		r.reply(0)
		return true, nil
	case fuse.OpRename:
		var m fuse.RenameIn
		m.Decode(&d)
		return true, i.rename(s, r, a, m.NewDir, d.Name(), d.Name())
	case fuse.OpRename2:
		var m fuse.Rename2In
		m.Decode(&d)
		return true, i.rename(s, r, a, m.NewDir, d.Name(), d.Name())
	}
	if r.Opcode == fuse.OpCreate || operations[r.Opcode].needs&changes != 0 {
		return true, posix.ECANCELED
	}
	return false, nil
}

// mayTake tells whether the guest has none but these files at a name, so that taking the
// name from it is not taking what it has made there since.
func (s *Session) mayTake(dir *node, base string, these ...*node) bool {
	n := s.nodes.child(dir, base)
	if n == nil {
		return true
	}
	defer s.nodes.unref(n)
	_, ghostly := n.n.(*ghost)
	return ghostly || slices.Contains(these, n)
}

func (a *armed) at(r *request, base string) bool {
	return r.NodeID == a.dir.id && base == a.name
}

// lookup answers for the armed names: what was there before, for the event to be seen
// happening to it.
func (i *injector) lookup(s *Session, r *request, a *armed, base string) (bool, error) {
	switch {
	case a.at(r, base):
		switch a.kind {
		case fuse.InjectMknod, fuse.InjectMkdir, fuse.InjectSymlink:
			return true, posix.ENOENT
		case fuse.InjectUnlink, fuse.InjectRmdir, fuse.InjectRename:
			return true, i.ghost(s, r, a, a.target, a.dir, base)
		}
	case a.kind == fuse.InjectRename && r.NodeID == a.to.id && base == a.newName:
		if a.old == nil {
			return true, posix.ENOENT
		}
		return true, i.ghost(s, r, a, a.old, a.to, base)
	default:
		return i.way(s, r, a, base)
	}
	return false, nil
}

// way answers for the folders above the armed names with those that the path is made of.
// The host may have removed them since: what they held is told of before they are.
func (i *injector) way(s *Session, r *request, a *armed, base string) (bool, error) {
	dir := s.nodes.get(r.NodeID)
	if dir == nil {
		return false, nil
	}
	defer s.nodes.unref(dir)
	n := s.nodes.child(dir, base)
	if n == nil {
		return false, nil
	}
	defer s.nodes.unref(n)
	if !n.isDir() {
		return false, nil
	}
	return true, i.ghost(s, r, a, n, dir, base)
}

// ghost answers with a file under a name that it no longer has on the host. When the
// guest has never heard of it, it is the file that it became, or one made up.
func (i *injector) ghost(s *Session, r *request, a *armed, n, dir *node, base string) error {
	if n == nil && a.kind == fuse.InjectRename {
		if h, attr, err := a.to.n.Lookup(a.newName); err == nil {
			if n, err = s.nodes.add(h, attr, dir, base); err != nil {
				return err
			}
			return i.spectre(s, r, n, &attr)
		}
	}
	if n == nil {
		g := newGhost(a.typ)
		n, err := s.nodes.add(g, g.attr, dir, base)
		if err != nil {
			return err
		}
		return i.spectre(s, r, n, &g.attr)
	}
	attr, err := n.n.Attr()
	if err != nil {
		g := newGhost(n.typ)
		attr = g.attr
	}
	s.nodes.grant(n, dir, base)
	return i.spectre(s, r, n, &attr)
}

// spectre answers with a node, to be believed for no time, and ends a reference to it.
func (i *injector) spectre(s *Session, r *request, n *node, attr *Attr) error {
	r.append(fuse.EntryOut{NodeID: n.id, Generation: 1, Attr: s.wireAttr(attr)})
	s.nodes.unref(n)
	return nil
}

// create answers the making of a file with the one that is there.
func (i *injector) create(s *Session, r *request, a *armed, kind fuse.InjectKind, base string) error {
	if a == nil || a.kind != kind || !a.at(r, base) {
		return posix.ECANCELED
	}
	h, attr, err := a.dir.n.Lookup(base)
	if err == nil && attr.Mode&posix.S_IFMT != a.typ {
		h.Release()
		err = posix.ENOENT
	}
	if err != nil { // it is gone again: it was there, and what follows tells of its end
		g := newGhost(a.typ)
		h, attr = g, g.attr
	}
	n, err := s.nodes.add(h, attr, a.dir, base)
	if err != nil {
		return err
	}
	return i.spectre(s, r, n, &attr)
}

// setattr answers a change of attributes with what they are.
func (i *injector) setattr(s *Session, r *request, a *armed) error {
	switch {
	case a == nil:
		return posix.ECANCELED
	case a.kind != fuse.InjectChmod && a.kind != fuse.InjectTruncate && a.kind != fuse.InjectTouch:
		return posix.ECANCELED
	}
	n := s.nodes.get(r.NodeID)
	if n == nil {
		return posix.ESTALE
	}
	defer s.nodes.unref(n)
	attr, err := n.n.Attr()
	if err != nil {
		return err
	}
	r.append(fuse.AttrOut{Attr: s.wireAttr(&attr)})
	return nil
}

func (i *injector) rename(s *Session, r *request, a *armed, newDir uint64, base, newBase string) error {
	if a == nil || a.kind != fuse.InjectRename || !a.at(r, base) || newDir != a.to.id || newBase != a.newName ||
		a.target != nil && !(s.mayTake(a.dir, base, a.target) && s.mayTake(a.to, newBase, a.old, a.target)) {
		return posix.ECANCELED
	}
	s.nodes.move(a.dir, base, a.to, newBase, false)
	r.reply(0)
	return nil
}
