package share

// A Watcher is a Backend that tells of changes on the host. Without one what the guest
// caches is short-lived, and inotify in the guest is silent for changes of the host's.
type Watcher interface {
	// Watch begins to tell of changes in a folder: of its names, and of the content and
	// attributes of what they name. Again is not an error. ENOSPC when the host watches
	// no more folders: the caller treats the folder as unwatched.
	Watch(dir Node) error
	// Unwatch ends it; of a folder that is not watched it does nothing.
	Unwatch(dir Node)
	// Events gives changes in the order that they happened. It is closed by the
	// backend's Close. The reader must keep up: past a bound that the backend states,
	// events are dropped and an EventOverflow takes their place.
	Events() <-chan Event
}

// EventKind is what happened.
type EventKind uint8

// Kinds of events.
const (
	EventCreate   EventKind = iota + 1 // Name is new in Dir (made, linked, or moved in from elsewhere)
	EventRemove                        // Name is gone from Dir (removed, or moved out of what is watched)
	EventRename                        // Name of Dir became NewName of NewDir
	EventModify                        // content changed
	EventClose                         // a writer closed the file
	EventAttrib                        // attributes changed
	EventOverflow                      // some were missed: anything may have changed
)

// Origin is who made a change.
type Origin uint8

// Origins.
const (
	OriginUnknown Origin = iota // the backend cannot tell: the session works it out
	OriginOwn                   // this backend, for a guest's request
	OriginForeign               // anyone else
)

// Event is one change on the host.
type Event struct {
	Kind    EventKind
	Origin  Origin
	Dir     FileID
	Name    string // empty: Dir itself (EventAttrib, EventRemove)
	NewDir  FileID // of EventRename
	NewName string
	ID      FileID // of the file; zero when not known
	IsDir   bool
}
