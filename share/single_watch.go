package share

import "sync"

// watchedSingle is a single whose host tells of changes: those of the folder that are of
// the name become changes of the root.
type watchedSingle struct {
	*single
	w      Watcher
	events chan Event
	begin  sync.Once
	end    sync.Once
	ended  chan struct{} // closed by Close
	wg     sync.WaitGroup
	err    error
}

// Watch watches the folder that the file is in, whichever node it is given.
func (s *watchedSingle) Watch(Node) error { return s.w.Watch(s.dir) }

// Unwatch ends that.
func (s *watchedSingle) Unwatch(Node) { s.w.Unwatch(s.dir) }

// Events gives the changes of the file.
func (s *watchedSingle) Events() <-chan Event {
	s.begin.Do(func() { s.wg.Go(s.filter) })
	return s.events
}

func (s *watchedSingle) filter() {
	defer close(s.events)
	in := s.w.Events()
	for {
		select {
		case <-s.ended:
			return
		case e, ok := <-in:
			if !ok {
				return
			}
			if e, mine := s.translate(e); mine {
				select {
				case s.events <- e:
				case <-s.ended:
					return
				}
			}
		}
	}
}

// translate makes an event of the name one of the root: there are no names in a file.
func (s *watchedSingle) translate(e Event) (Event, bool) {
	dir := s.dir.ID()
	at := e.Dir == dir && e.Name == s.name
	became := e.Kind == EventRename && e.NewDir == dir && e.NewName == s.name
	out := Event{Kind: e.Kind, Origin: e.Origin, Dir: s.id(), ID: s.id()}
	switch {
	case e.Kind == EventOverflow:
		return Event{Kind: EventOverflow}, true
	case became || at && e.Kind == EventCreate: // another file: other content
		out.Kind, out.Origin = EventModify, OriginForeign
	case at && (e.Kind == EventModify || e.Kind == EventClose || e.Kind == EventAttrib):
	case at: // the name is gone: the link count is another
		out.Kind = EventAttrib
	default:
		return Event{}, false
	}
	return out, true
}

func (s *watchedSingle) Close() error {
	s.end.Do(func() {
		close(s.ended)
		// Events may never have been asked for.
		s.begin.Do(func() { close(s.events) })
		s.wg.Wait()
		s.err = s.single.Close()
	})
	return s.err
}
