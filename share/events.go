package share

import (
	"context"
	"sync"
	"time"

	"github.com/porthole-run/porthole/share/posix"
)

const (
	// settleFor is how long events are gathered, so that many of one file become one.
	settleFor = 10 * time.Millisecond
	// maxPending bounds the events that wait for their injection; a burst past it is told
	// as an overflow.
	maxPending = 4096
)

// A happening is what the host's events at one name amount to.
type happening struct {
	Event
	closed bool // a writer closed the file: after EventCreate or EventModify

	node *node // the file, when the guest knows it; with a reference
	old  *node // what a rename replaced; with a reference
	// way are the folders that the guest walks to be told, with references: of those that
	// the host has removed too the kernel keeps but what is watched.
	way []*node
}

// backlog is what the host told and the guest has not been told of.
type backlog struct {
	mu       sync.Mutex // guards the rest
	fresh    []*happening
	at       map[nameKey]*happening // last of fresh at a name, by its kind
	overflow bool
	inject   []*happening
	woken    chan struct{}
	due      chan struct{}
}

// follow takes the watcher's events, until ctx ends, and has them told to the guest. The
// three steps each have a goroutine: the watcher must not wait for the guest's kernel,
// nor the drop of caches for injections.
func (s *Session) follow(ctx context.Context) {
	b := &backlog{at: make(map[nameKey]*happening), woken: make(chan struct{}, 1), due: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { s.expireEvents(ctx, b) })
	wg.Go(func() { s.injectEvents(ctx, b) })
	defer wg.Wait()
	events := s.watcher.Events()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				s.log.Warn("the host tells of no more changes")
				s.unwatchAll()
				b.add(Event{Kind: EventOverflow})
				events = nil
				continue
			}
			b.add(e)
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add queues an event, or joins it with an earlier one at its name.
func (b *backlog) add(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer poke(b.woken)
	if e.Kind == EventOverflow || len(b.fresh) >= maxPending {
		b.overflow = true
		b.reset()
		return
	}
	key := func(k echoKind) nameKey { return nameKey{e.Dir, e.Name, k} }
	switch e.Kind {
	case EventModify, EventClose:
		if h := b.at[key(echoModify)]; h != nil && h.Origin == e.Origin {
			h.closed = h.closed || e.Kind == EventClose
			if e.Kind == EventModify {
				h.Kind = EventModify
			}
			return
		}
		if h := b.at[key(echoCreate)]; h != nil && h.Origin == e.Origin && e.Kind == EventClose {
			h.closed = true
			return
		}
	case EventAttrib:
		if h := b.at[key(echoAttrib)]; h != nil && h.Origin == e.Origin {
			return
		}
	}
	h := &happening{Event: e, closed: e.Kind == EventClose}
	b.fresh = append(b.fresh, h)
	switch e.Kind {
	case EventModify, EventClose:
		b.at[key(echoModify)] = h
	case EventAttrib:
		b.at[key(echoAttrib)] = h
	case EventCreate, EventRemove:
		b.forget(e.Dir, e.Name)
		if e.Kind == EventCreate {
			b.at[key(echoCreate)] = h
		}
	case EventRename:
		b.forget(e.Dir, e.Name)
		b.forget(e.NewDir, e.NewName)
	}
}

// forget has later events at a name begin anew: it is another file's now.
func (b *backlog) forget(dir FileID, base string) {
	for _, k := range [...]echoKind{echoCreate, echoModify, echoAttrib} {
		delete(b.at, nameKey{dir, base, k})
	}
}

func (b *backlog) reset() {
	b.fresh = nil
	clear(b.at)
}

func (b *backlog) take() ([]*happening, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list, over := b.fresh, b.overflow
	b.overflow = false
	b.reset()
	return list, over
}

// expireEvents drops what the guest has cached of what has changed, and hands events on
// to be injected.
func (s *Session) expireEvents(ctx context.Context, b *backlog) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.woken:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleFor):
		}
		list, over := b.take()
		if over {
			s.overflowed(ctx, b)
			continue
		}
		var changes []Change
		var told []*happening
		for _, h := range list {
			if s.own(h) {
				continue
			}
			changes = s.resolve(h, changes)
			told = append(told, h)
		}
		if err := s.Invalidate(ctx, changes); err != nil && ctx.Err() == nil {
			s.log.Warn("invalidate what the host has changed", "error", err)
		}
		s.queueInjections(ctx, b, told)
	}
}

// own tells whether a happening is the guest's own doing, which its kernel knows.
func (s *Session) own(h *happening) bool {
	if h.Origin != OriginUnknown {
		s.tells.Store(true)
		return h.Origin == OriginOwn
	}
	j := &s.journal
	switch h.Kind {
	case EventCreate:
		return j.ownName(h.Dir, h.Name, echoCreate)
	case EventRemove:
		return j.ownName(h.Dir, h.Name, echoRemove)
	case EventRename:
		from := j.ownName(h.Dir, h.Name, echoRemove)
		return j.ownName(h.NewDir, h.NewName, echoCreate) && from
	}
	n := s.nodes.find(h.ID)
	if n == nil {
		if n = s.at(h.Dir, h.Name); n == nil {
			return false
		}
	}
	defer s.nodes.unref(n)
	a, err := n.n.Attr()
	return err == nil && j.ownFile(n.fid, versionOf(&a))
}

// at returns what the guest knows at a name (of a folder itself when that is empty), with
// a reference, or nil.
func (s *Session) at(dir FileID, base string) *node {
	d := s.nodes.find(dir)
	if d == nil || base == "" {
		return d
	}
	defer s.nodes.unref(d)
	return s.nodes.child(d, base)
}

// resolve finds what the guest knows of a happening, and appends the changes to drop.
func (s *Session) resolve(h *happening, changes []Change) []Change {
	for _, id := range [...]FileID{h.Dir, h.NewDir} {
		if dir := s.nodes.find(id); dir != nil {
			h.way = append(h.way, s.nodes.above(dir)...)
			s.nodes.unref(dir)
		}
	}
	if h.node = s.nodes.find(h.ID); h.node == nil {
		// What lost a name is not what the guest has come to know by it since.
		lost := h.Kind == EventRemove || h.Kind == EventRename
		if !lost || h.ID == (FileID{}) {
			h.node = s.at(h.Dir, h.Name)
		}
	}
	if h.node != nil {
		c := Change{File: h.node.fid}
		if h.Kind == EventModify || h.Kind == EventClose || h.closed {
			c.Len = -1
		}
		changes = append(changes, c)
	}
	switch h.Kind {
	case EventCreate, EventRemove:
		changes = append(changes, Change{Dir: h.Dir, Name: h.Name})
	case EventRename:
		changes = append(changes, Change{Dir: h.Dir, Name: h.Name}, Change{Dir: h.NewDir, Name: h.NewName})
		if h.old = s.at(h.NewDir, h.NewName); h.old != nil && h.old == h.node {
			s.nodes.unref(h.old) // the guest has met it under its new name already
			h.old = nil
		}
		if h.old != nil {
			changes = append(changes, Change{File: h.old.fid})
		}
	}
	return changes
}

// free ends a happening's references.
func (s *Session) settle(h *happening) {
	for _, n := range append(h.way, h.node, h.old) {
		if n != nil {
			s.nodes.unref(n)
		}
	}
	h.node, h.old, h.way = nil, nil, nil
}

func (s *Session) queueInjections(ctx context.Context, b *backlog, list []*happening) {
	b.mu.Lock()
	over := len(b.inject)+len(list) > maxPending
	if !over {
		b.inject = append(b.inject, list...)
	}
	b.mu.Unlock()
	if over {
		for _, h := range list {
			s.settle(h)
		}
		s.overflowed(ctx, b)
		return
	}
	poke(b.due)
}

// overflowed drops all that the guest has cached, and in place of the events that were
// lost raises one on each folder that is watched.
func (s *Session) overflowed(ctx context.Context, b *backlog) {
	s.log.Warn("events of the host were lost: the guest's caches are dropped")
	b.mu.Lock()
	lost := b.inject
	b.inject = nil
	b.mu.Unlock()
	for _, h := range lost {
		s.settle(h)
	}
	if err := s.invalidateAll(ctx); err != nil {
		return
	}
	var list []*happening
	for _, n := range s.watched() {
		if len(list) >= maxPending/2 {
			s.nodes.unref(n)
			continue
		}
		list = append(list, &happening{Event: Event{Kind: EventAttrib, Dir: n.fid, ID: n.fid, IsDir: true}, node: n})
	}
	b.mu.Lock()
	b.inject = append(b.inject, list...)
	b.mu.Unlock()
	poke(b.due)
}

// injectEvents raises the guest's inotify events, one at a time, in order.
func (s *Session) injectEvents(ctx context.Context, b *backlog) {
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, h := range b.inject {
			s.settle(h)
		}
		b.inject = nil
	}()
	for {
		b.mu.Lock()
		var h *happening
		if len(b.inject) > 0 {
			h = b.inject[0]
			b.inject[0] = nil
			b.inject = b.inject[1:]
		}
		b.mu.Unlock()
		if h == nil {
			select {
			case <-ctx.Done():
				return
			case <-b.due:
			}
			continue
		}
		s.raise(ctx, h)
		s.settle(h)
		if ctx.Err() != nil {
			return
		}
	}
}

// rekey has the node table follow a change of names that was not injected.
func (s *Session) rekey(h *happening) {
	d := s.nodes.find(h.Dir)
	if d == nil {
		return
	}
	defer s.nodes.unref(d)
	switch h.Kind {
	case EventRemove:
		if h.node != nil {
			s.nodes.unlink(d, h.Name, h.node)
		}
	case EventRename:
		if to := s.nodes.find(h.NewDir); to != nil {
			s.nodes.move(d, h.Name, to, h.NewName, false)
			s.nodes.unref(to)
		} else {
			s.nodes.unlink(d, h.Name, h.node)
		}
	}
}

// typeOf is the type of file that an event is about, as far as it says.
func (h *happening) typeOf() uint32 {
	if h.node != nil {
		return h.node.typ
	}
	if h.IsDir {
		return posix.S_IFDIR
	}
	return posix.S_IFREG
}
