package share

import (
	"cmp"
	"slices"
	"sync"

	"github.com/porthole-run/porthole/share/fuse"
)

// watchSet is the folders that the host tells of. It is bounded: those that were looked
// into longest ago go first.
type watchSet struct {
	mu      sync.Mutex // held while a folder's watch begins or ends; guards the rest
	dirs    map[*node]struct{}
	refused map[*node]struct{} // what the host would not watch
	tick    uint64
}

func (w *watchSet) init() {
	w.dirs, w.refused = make(map[*node]struct{}), make(map[*node]struct{})
}

// watch has the host tell of changes in a folder from now on, before anything of it is
// read. When the host does not, the folder's caches are short-lived.
func (s *Session) watch(dir *node) {
	if s.watcher == nil {
		return
	}
	if dir.watched.Load() && dir.used.Load() != 0 {
		return
	}
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tick++
	dir.used.Store(w.tick)
	if dir.watched.Load() {
		return
	}
	if _, no := w.refused[dir]; no || s.blind.Load() {
		return
	}
	if len(w.dirs) >= s.limits.Watches {
		s.evict()
	}
	if err := s.watcher.Watch(dir.n); err != nil {
		if len(w.refused) < s.limits.Watches {
			w.refused[dir] = struct{}{}
		}
		s.log.Debug("watch a folder", "error", err)
		return
	}
	w.dirs[dir] = struct{}{}
	dir.watched.Store(true)
}

// evict ends the watches of a part of the folders, and marks the rest as not used since.
// What the kernel has cached of them is no longer covered, so it is dropped. The caller
// holds mu.
func (s *Session) evict() {
	w := &s.watches
	all := make([]*node, 0, len(w.dirs))
	for n := range w.dirs {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *node) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	for i, n := range all {
		if i >= max(len(all)/16, 1) {
			n.used.Store(0) // counts again when it is next looked into
			continue
		}
		n.watched.Store(false)
		delete(w.dirs, n)
		s.watcher.Unwatch(n.n)
		for _, base := range s.nodes.known(n) {
			s.notes.again(Change{Dir: n.fid, Name: base})
		}
	}
}

// unwatch ends a folder's watch: the guest has forgotten it.
func (s *Session) unwatch(dir *node) {
	if s.watcher == nil || !dir.isDir() && dir.id != fuse.RootID {
		return
	}
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.refused, dir)
	if _, ok := w.dirs[dir]; ok {
		delete(w.dirs, dir)
		dir.watched.Store(false)
		s.watcher.Unwatch(dir.n)
	}
}

// unwatchAll ends all watches for good: the watcher tells nothing any more.
func (s *Session) unwatchAll() {
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	s.blind.Store(true)
	for n := range w.dirs {
		n.watched.Store(false)
	}
	clear(w.dirs)
}

// watched returns the folders that are watched, each with a reference.
func (s *Session) watched() []*node {
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*node, 0, len(w.dirs))
	for n := range w.dirs {
		if s.nodes.get(n.id) != nil { // else it is just being forgotten
			all = append(all, n)
		}
	}
	return all
}
