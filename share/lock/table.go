package lock

import (
	"slices"
	"sync"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// MaxOffset is the last byte of a file: a range to it has no end.
const MaxOffset = 1<<63 - 1

// Limits bound what one session can take. Zero fields have defaults.
type Limits struct {
	Ranges int // locked ranges; 256 Ki
	Waits  int // waits under way; 1024
}

// Table has the locks of all sessions.
type Table struct {
	limits Limits // immutable after New

	mu       sync.Mutex // guards what follows and what is reached from it
	spaces   map[spaceKey]*space
	waits    map[ownerKey][]*wait // POSIX waits under way
	sessions uint64               // so far, to tell them apart
}

// New makes an empty table.
func New(l Limits) *Table {
	if l.Ranges == 0 {
		l.Ranges = 256 << 10
	}
	if l.Waits == 0 {
		l.Waits = 1024
	}
	return &Table{limits: l, spaces: map[spaceKey]*space{}, waits: map[ownerKey][]*wait{}}
}

// spaceKey names a set of locks that see each other.
type spaceKey struct {
	file share.FileID
	kind share.LockKind
}

type ownerKey struct {
	session *Session
	owner   uint64
}

// space has the locks on one file of one kind. Each range is in both owners and all.
type space struct {
	key    spaceKey
	owners map[ownerKey][]span
	all    tree
	waits  []*wait // in order of asking
}

// wait is a lock that has been asked for and is not there yet.
type wait struct {
	space *space
	who   ownerKey
	want  span
	done  func(error)
}

// space finds a file's locks, and makes a place for them.
func (t *Table) space(k spaceKey) *space {
	s := t.spaces[k]
	if s == nil {
		s = &space{key: k, owners: map[ownerKey][]span{}}
		t.spaces[k] = s
	}
	return s
}

// tidy forgets a space that holds nothing.
func (t *Table) tidy(s *space) {
	if len(s.owners) == 0 && len(s.waits) == 0 {
		delete(t.spaces, s.key)
	}
}

// ask takes a lock, or queues for it. It calls done exactly once: now, or when a wait ends.
func (t *Table) ask(s *space, who ownerKey, want span, queue bool, done func(error)) *wait {
	gaveUp := false
	if s.key.kind == share.LockFlock {
		// A change of an flock is not atomic: what was held goes first, even in vain.
		if held := s.owners[who]; len(held) > 0 && held[0].typ != want.typ && want.typ != posix.F_UNLCK {
			s.remove(who)
			gaveUp = true
		}
	}
	if want.typ == posix.F_UNLCK || s.conflict(who, want) == nil {
		gave, err := t.set(s, who, want)
		done(err)
		if gave || gaveUp {
			t.wake(s)
		}
		return nil
	}
	if gaveUp {
		t.wake(s)
	}
	switch {
	case !queue:
		done(posix.EAGAIN)
	case len(who.session.waits) >= t.limits.Waits:
		done(posix.ENOLCK)
	default:
		w := &wait{space: s, who: who, want: want, done: done}
		if steps := maxSearch; t.deadlock(w, &steps) {
			done(posix.EDEADLK)
			return nil
		}
		t.enqueue(w)
		return w
	}
	return nil
}

// set changes an owner's ranges. It says whether others may find something free now.
func (t *Table) set(s *space, who ownerKey, want span) (gave bool, err error) {
	held := s.owners[who]
	i, j, repl := splice(held, want)
	if slices.Equal(held[i:j], repl) {
		return false, nil
	}
	grown := len(repl) - (j - i)
	if grown > 0 && who.session.ranges+grown > t.limits.Ranges {
		return false, posix.ENOLCK
	}
	for _, old := range held[i:j] {
		s.all.remove(who, old)
		if old.start <= want.end && want.start <= old.end { // not just a neighbour
			gave = gave || want.typ == posix.F_UNLCK || old.typ == posix.F_WRLCK && want.typ == posix.F_RDLCK
		}
	}
	for _, r := range repl {
		s.all.insert(who, r)
	}
	s.put(who, slices.Replace(held, i, j, repl...))
	return gave, nil
}

// put makes held what the owner has.
func (s *space) put(who ownerKey, held []span) {
	who.session.ranges += len(held) - s.counted(who)
	if len(held) == 0 {
		delete(s.owners, who)
		delete(who.session.held, heldKey{s.key, who.owner})
		return
	}
	s.owners[who] = held
	who.session.held[heldKey{s.key, who.owner}] = len(held)
}

// counted is how many ranges of the owner its session's count has.
func (s *space) counted(who ownerKey) int { return who.session.held[heldKey{s.key, who.owner}] }

// remove takes all that an owner has, and says whether there was anything.
func (s *space) remove(who ownerKey) bool {
	held := s.owners[who]
	for _, r := range held {
		s.all.remove(who, r)
	}
	s.put(who, nil)
	return len(held) > 0
}

// conflict returns a range of another owner that stops want, the first by its start.
func (s *space) conflict(who ownerKey, want span) *node {
	var found *node
	s.conflicts(who, want, func(n *node) bool {
		found = n
		return false
	})
	return found
}

// conflicts calls f with each range of other owners that stops want, until f returns false.
func (s *space) conflicts(who ownerKey, want span, f func(*node) bool) {
	s.all.root.overlaps(want.start, want.end, want.typ == posix.F_RDLCK, func(n *node) bool {
		return n.who == who || f(n)
	})
}

// wake gives those that wait what has become free, in order of asking. Those that go on
// waiting may do so for others than before, so that their waits are looked at anew.
func (t *Table) wake(s *space) {
	for i := 0; i < len(s.waits); {
		w := s.waits[i]
		if s.conflict(w.who, w.want) != nil {
			i++
			continue
		}
		t.dequeue(w)
		gave, err := t.set(s, w.who, w.want)
		w.done(err)
		if gave { // an upper part of a write lock, say, that an older wait is for
			i = 0
		}
	}
	steps := maxSearch
	for i := 0; i < len(s.waits); {
		if w := s.waits[i]; t.deadlock(w, &steps) {
			t.dequeue(w)
			w.done(posix.EDEADLK)
		} else {
			i++
		}
	}
}

func (t *Table) enqueue(w *wait) {
	w.space.waits = append(w.space.waits, w)
	w.who.session.waits[w] = struct{}{}
	if w.space.key.kind == share.LockPOSIX {
		t.waits[w.who] = append(t.waits[w.who], w)
	}
}

func (t *Table) dequeue(w *wait) {
	isIt := func(x *wait) bool { return x == w }
	w.space.waits = slices.DeleteFunc(w.space.waits, isIt)
	delete(w.who.session.waits, w)
	if rest := slices.DeleteFunc(t.waits[w.who], isIt); len(rest) > 0 {
		t.waits[w.who] = rest
	} else {
		delete(t.waits, w.who)
	}
}

// maxSearch bounds a search for deadlocks, in ranges looked at.
const maxSearch = 4096

// deadlock says whether a wait's owner waits for itself. It counts steps down.
func (t *Table) deadlock(w *wait, steps *int) bool {
	if w.space.key.kind != share.LockPOSIX {
		return false
	}
	seen := map[ownerKey]bool{}
	todo := []*wait{w}
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		self := false
		next.space.conflicts(next.who, next.want, func(n *node) bool {
			*steps--
			self = n.who == w.who
			if !self && !seen[n.who] {
				seen[n.who] = true
				todo = append(todo, t.waits[n.who]...)
			}
			return !self && *steps > 0
		})
		if self {
			return true
		}
		if *steps <= 0 {
			return false
		}
	}
	return false
}
