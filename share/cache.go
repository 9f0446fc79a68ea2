package share

import (
	"sync/atomic"
	"time"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// How long the guest's kernel may believe what it was told.
const (
	watchedFor   = 60 * time.Second // the host tells of changes
	unwatchedFor = time.Second
	sharedFor    = time.Second // names, while other VMs change files: see Invalidate
)

// cache numbers invalidations, so that an answer can tell whether one has overtaken it.
type cache struct {
	seq   atomic.Uint64
	floor atomic.Uint64 // number of the last invalidation of all
}

func (c *cache) now() uint64 { return c.seq.Load() }

// overtaken tells whether what was learnt of n since then may be older than an
// invalidation.
func (s *Session) overtaken(n *node, since uint64) bool {
	return n.invalNow.Load() > 0 || n.inval.Load() > since || s.cache.floor.Load() > since
}

// entryFor returns how long names of a folder may be believed, also that they are not
// there.
func (s *Session) entryFor(dir *node, since uint64) time.Duration {
	switch {
	case !s.features.Local || s.overtaken(dir, since):
		return 0
	case s.peers != nil && s.peers.Shared():
		return sharedFor
	case dir.watched.Load():
		return watchedFor
	}
	return unwatchedFor
}

// attrFor returns how long a file's attributes may be believed.
func (s *Session) attrFor(n *node, a *Attr, since uint64) time.Duration {
	if !s.features.Local || s.overtaken(n, since) {
		return 0
	}
	if s.covered(n, a) {
		return watchedFor
	}
	s.notice(n, a)
	return unwatchedFor
}

// notice has a file's cached pages dropped when its attributes say that they are old, for
// a file whose changes the host does not tell of while the kernel relies on that. What
// the guest has written itself moves them too: then the next open is what decides.
func (s *Session) notice(n *node, a *Attr) {
	if !s.trusted() || n.typ != posix.S_IFREG {
		return
	}
	v := versionOf(a)
	n.mu.Lock()
	old := n.seen.known && !n.own && n.seen != v
	if old {
		n.seen = v
	}
	n.mu.Unlock()
	if old {
		s.notes.again(Change{File: n.fid, Len: -1})
	}
}

// covered tells whether the host would tell of every change of a file: all its names are
// in folders that are watched, and a folder is watched itself for what happens in it.
func (s *Session) covered(n *node, a *Attr) bool {
	if s.watcher == nil || n.isDir() && !n.watched.Load() {
		return false
	}
	if n.id == fuse.RootID {
		return n.watched.Load()
	}
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	for _, l := range n.links {
		if !l.dir.watched.Load() {
			return false
		}
	}
	return len(n.links) > 0 && (n.isDir() || len(n.links) >= int(a.Nlink))
}

// version tells one content of a file from another.
type version struct {
	size, change uint64
	mtime        Time
	known        bool
}

func versionOf(a *Attr) version {
	return version{size: a.Size, change: a.Change, mtime: a.Mtime, known: true}
}

// keepCache tells at an open whether the pages that the kernel has of a file are still
// its content. The guest's own writes went through these pages; whether the host wrote
// too meanwhile is known only where it is watched.
func (s *Session) keepCache(n *node, a *Attr) bool {
	v := versionOf(a)
	covered := s.trusted() && s.covered(n, a)
	n.mu.Lock()
	defer n.mu.Unlock()
	keep := s.features.Local && n.seen.known && (n.seen == v || n.own && covered)
	n.seen, n.own = v, false
	return keep
}

// wrote notes that the guest has changed a file's content.
func (n *node) wrote() {
	n.mu.Lock()
	n.own = true
	n.mu.Unlock()
}

func split(d time.Duration) (uint64, uint32) {
	return uint64(d / time.Second), uint32(d % time.Second)
}

func wireAttr(a *Attr) fuse.Attr {
	return fuse.Attr{Ino: a.Ino, Size: a.Size, Blocks: a.Blocks,
		Atime: uint64(a.Atime.Sec), Mtime: uint64(a.Mtime.Sec), Ctime: uint64(a.Ctime.Sec),
		AtimeNsec: a.Atime.Nsec, MtimeNsec: a.Mtime.Nsec, CtimeNsec: a.Ctime.Nsec,
		Mode: a.Mode, Nlink: a.Nlink, UID: a.UID, GID: a.GID, Rdev: a.Rdev, BlkSize: max(a.BlockSize, 512)}
}

// entry is the answer that gives the kernel a node under a name of dir; dir is nil for
// a file without one.
func (s *Session) entry(r *request, dir, n *node, a *Attr) fuse.EntryOut {
	e := fuse.EntryOut{NodeID: n.id, Generation: 1, Attr: s.wireAttr(a)}
	if dir != nil {
		e.EntryValid, e.EntryValidNsec = split(s.entryFor(dir, r.since))
	}
	e.AttrValid, e.AttrValidNsec = split(s.attrFor(n, a, r.since))
	return e
}

// missing answers that a name is not there: for a while, where that may be believed.
func (s *Session) missing(r *request, dir *node, base string) error {
	known := s.nodes.miss(dir, base)
	d := s.entryFor(dir, r.since)
	if !known {
		d = min(d, unwatchedFor)
	}
	if d == 0 {
		return posix.ENOENT
	}
	var e fuse.EntryOut
	e.EntryValid, e.EntryValidNsec = split(d)
	r.append(e)
	return nil
}

func (s *Session) attrOut(r *request, n *node, a *Attr) {
	var o fuse.AttrOut
	o.AttrValid, o.AttrValidNsec = split(s.attrFor(n, a, r.since))
	o.Attr = s.wireAttr(a)
	r.append(o)
}
