package ntfs

import (
	"errors"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/posix"
)

// eventsMost is how many events wait for the reader before they become an overflow.
const eventsMost = 4096

const notifyFilter = ntapi.NotifyFileName | ntapi.NotifyDirName | ntapi.NotifyAttributes | ntapi.NotifySize |
	ntapi.NotifyLastWrite | ntapi.NotifyEA

// watcher turns the notices of the whole folder into events of those watched. One
// goroutine reads; it begins with the first Watch, and close waits for it.
type watcher struct {
	b      *Backend
	events chan share.Event
	done   sync.WaitGroup

	mu      sync.Mutex // guards the rest
	dirs    map[ntapi.FileID]struct{}
	h       ntapi.Handle
	lost    bool // the last event is an overflow, others have been dropped since
	stopped bool
}

func newWatcher(b *Backend) *watcher {
	return &watcher{b: b, events: make(chan share.Event, eventsMost+1), dirs: map[ntapi.FileID]struct{}{}}
}

// Watch implements share.Watcher.
func (b *Backend) Watch(d share.Node) error {
	n, ok := d.(*node)
	if !ok || n.b != b {
		return posix.EINVAL
	}
	return n.wrap("watch", b.events.watch(n.f.id))
}

// Unwatch implements share.Watcher.
func (b *Backend) Unwatch(d share.Node) {
	if n, ok := d.(*node); ok {
		w := b.events
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.dirs, n.f.id)
	}
}

// Events implements share.Watcher. Up to 4096 wait; their origin is unknown, since NTFS
// does not say who made a change.
func (b *Backend) Events() <-chan share.Event { return b.events.events }

func (w *watcher) watch(id ntapi.FileID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return posix.EBADF
	}
	if w.h == nil {
		h, _, err := w.b.root.Open(w.b.request(ntapi.AccessReadData))
		if err != nil {
			return err
		}
		w.h = h
		noted := make(chan struct{})
		w.done.Go(func() { w.run(h, sync.OnceFunc(func() { close(noted) })) })
		<-noted // what is changed after Watch is told
	}
	w.dirs[id] = struct{}{}
	return nil
}

func (w *watcher) close() error {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return nil
	}
	w.stopped = true
	h := w.h
	w.mu.Unlock()
	var err error
	if h != nil {
		err = h.Close()
	}
	w.done.Wait()
	close(w.events)
	return err
}

// run reads until the handle is closed, or the folder has gone. It calls noted when changes are
// noted, or will not be.
func (w *watcher) run(h ntapi.Handle, noted func()) {
	var p pairing
	for {
		changes, err := h.ReadChanges(notifyFilter, noted)
		noted()
		switch {
		case errors.Is(err, ntapi.StatusNotifyEnumDir):
			w.send(share.Event{Kind: share.EventOverflow})
			continue
		case err != nil:
			w.mu.Lock()
			stopped := w.stopped
			w.mu.Unlock()
			if !stopped {
				w.send(share.Event{Kind: share.EventOverflow}) // nothing is told from here on
			}
			return
		}
		for _, s := range p.pair(changes) {
			w.tell(s)
		}
	}
}

// A step is a change of one name, or of two for a rename.
type step struct {
	ntapi.Change
	to *ntapi.Change
}

// pairing finds renames: the old name and the new one of one file, one after the other.
// NTFS tells a move between directories as a removal and an addition.
type pairing struct{ held *ntapi.Change }

func (p *pairing) pair(changes []ntapi.Change) []step {
	var steps []step
	flush := func() {
		if p.held != nil {
			p.held.Action = ntapi.ActionRemoved
			steps = append(steps, step{Change: *p.held})
			p.held = nil
		}
	}
	for at, c := range changes {
		switch c.Action {
		case ntapi.ActionOldName:
			flush()
			p.held = &changes[at]
			continue
		case ntapi.ActionRemoved:
			flush()
			if at+1 < len(changes) && changes[at+1].Action == ntapi.ActionAdded && changes[at+1].ID == c.ID {
				p.held = &changes[at]
				continue
			}
		case ntapi.ActionNewName, ntapi.ActionAdded:
			if p.held != nil && p.held.ID == c.ID {
				steps = append(steps, step{Change: *p.held, to: &changes[at]})
				p.held = nil
				continue
			}
			c.Action = ntapi.ActionAdded
		}
		flush()
		steps = append(steps, step{Change: c})
	}
	return steps
}

// tell sends what a step means for those that are watched.
func (w *watcher) tell(s step) {
	from, fromSeen := w.place(s.Change)
	if s.to != nil {
		to, toSeen := w.place(*s.to)
		switch {
		case fromSeen && toSeen:
			from.Kind, from.NewDir, from.NewName = share.EventRename, to.Dir, to.Name
			w.send(from)
		case fromSeen:
			from.Kind = share.EventRemove
			w.send(from)
		case toSeen:
			to.Kind = share.EventCreate
			w.send(to)
		}
		return
	}
	if !fromSeen {
		return
	}
	switch s.Action {
	case ntapi.ActionAdded:
		from.Kind = share.EventCreate
	case ntapi.ActionRemoved:
		from.Kind = share.EventRemove
	default:
		from.Kind = share.EventModify
		if from.IsDir {
			from.Kind = share.EventAttrib // a directory's content is told by its names
		}
	}
	w.send(from)
}

// place returns an event for a change, and whether its directory is watched and its name
// one that guests see.
func (w *watcher) place(c ntapi.Change) (share.Event, bool) {
	name := c.Name[strings.LastIndexByte(c.Name, '\\')+1:]
	e := share.Event{
		Dir: w.b.fileID(c.Parent), Name: guestName(name), ID: w.b.fileID(c.ID),
		IsDir: c.Attributes&ntapi.AttributeDirectory != 0 && c.Attributes&ntapi.AttributeReparsePoint == 0,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, watched := w.dirs[c.Parent]
	return e, watched && !strings.HasPrefix(name, hiddenPrefix)
}

// send gives an event to the reader; past the bound an overflow takes the place of it and
// of those after it until there is room, in a place kept for it.
func (w *watcher) send(e share.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) < eventsMost {
		w.lost = false
		w.events <- e
		return
	}
	if !w.lost {
		w.lost = true
		w.events <- share.Event{Kind: share.EventOverflow}
	}
}
