package locktest

import (
	"slices"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Bytes is how many bytes of a file the Model knows; the last stands for all after it.
const Bytes = 24

// Model is a lock table as one would explain it: who has which byte. It is slow and not
// safe for concurrent use.
type Model struct {
	bytes map[modelByte]map[Who]uint32
	waits []*modelWait
}

// Who is an owner in a session.
type Who struct {
	Session int
	Owner   uint64
}

type modelByte struct {
	file share.FileID
	kind share.LockKind
	at   uint64
}

type modelWait struct {
	file share.FileID
	who  Who
	want share.Lock
	done func(error)
}

// NewModel makes an empty one.
func NewModel() *Model { return &Model{bytes: map[modelByte]map[Who]uint32{}} }

// each calls f with the bytes of a lock.
func (m *Model) each(file share.FileID, l share.Lock, f func(owners map[Who]uint32)) {
	start, end := l.Start, min(l.End, Bytes-1)
	if l.Kind == share.LockFlock {
		start, end = 0, Bytes-1
	}
	for at := start; at <= end; at++ {
		k := modelByte{file, l.Kind, at}
		if m.bytes[k] == nil {
			m.bytes[k] = map[Who]uint32{}
		}
		f(m.bytes[k])
	}
}

// blockers are the owners that stop a lock.
func (m *Model) blockers(file share.FileID, who Who, l share.Lock) []Who {
	var all []Who
	m.each(file, l, func(owners map[Who]uint32) {
		for o, typ := range owners {
			if o != who && (typ == posix.F_WRLCK || l.Type == posix.F_WRLCK) && !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	})
	return all
}

// set says whether others may find something free now.
func (m *Model) set(file share.FileID, who Who, l share.Lock) (gave bool) {
	m.each(file, l, func(owners map[Who]uint32) {
		had, ok := owners[who]
		gave = gave || ok && (l.Type == posix.F_UNLCK || had == posix.F_WRLCK && l.Type == posix.F_RDLCK)
		if l.Type == posix.F_UNLCK {
			delete(owners, who)
		} else {
			owners[who] = l.Type
		}
	})
	return gave
}

// Get says whether a lock of another owner stops l.
func (m *Model) Get(session int, file share.FileID, l share.Lock) bool {
	return len(m.blockers(file, Who{session, l.Owner}, l)) > 0
}

// Holds returns what an owner has at a byte; F_UNLCK for nothing.
func (m *Model) Holds(who Who, file share.FileID, kind share.LockKind, at uint64) uint32 {
	if typ, ok := m.bytes[modelByte{file, kind, at}][who]; ok {
		return typ
	}
	return posix.F_UNLCK
}

// Ask is as lock.Session's.
func (m *Model) Ask(session int, file share.FileID, l share.Lock, wait bool, done func(error)) (cancel func()) {
	who := Who{session, l.Owner}
	w := &modelWait{file, who, l, done}
	gave := false
	if l.Kind == share.LockFlock && l.Type != posix.F_UNLCK && m.Holds(who, file, l.Kind, 0) != l.Type {
		gone := l
		gone.Type = posix.F_UNLCK
		gave = m.set(file, who, gone)
		if gave && len(m.blockers(file, who, l)) > 0 {
			m.wake(file, l.Kind)
		}
	}
	switch {
	case l.Type == posix.F_UNLCK || len(m.blockers(file, who, l)) == 0:
		gave = m.set(file, who, l) || gave
		done(nil)
		if gave {
			m.wake(file, l.Kind)
		}
	case !wait:
		done(posix.EAGAIN)
	case m.deadlock(w):
		done(posix.EDEADLK)
	default:
		m.waits = append(m.waits, w)
		return func() {
			if m.forget(w) {
				done(posix.EINTR)
			}
		}
	}
	return func() {}
}

// Drop gives back all of an owner's locks of one kind on a file.
func (m *Model) Drop(session int, file share.FileID, owner uint64, kind share.LockKind) {
	if m.set(file, Who{session, owner}, share.Lock{Kind: kind, Type: posix.F_UNLCK, End: Bytes}) {
		m.wake(file, kind)
	}
}

func (m *Model) forget(w *modelWait) bool {
	i := slices.Index(m.waits, w)
	if i >= 0 {
		m.waits = slices.Delete(m.waits, i, i+1)
	}
	return i >= 0
}

// wake grants, always the oldest that can be, until none can be.
func (m *Model) wake(file share.FileID, kind share.LockKind) {
	of := func(w *modelWait) bool { return w.file == file && w.want.Kind == kind }
	for {
		i := slices.IndexFunc(m.waits, func(w *modelWait) bool {
			return of(w) && len(m.blockers(w.file, w.who, w.want)) == 0
		})
		if i < 0 {
			break
		}
		w := m.waits[i]
		m.forget(w)
		m.set(w.file, w.who, w.want)
		w.done(nil)
	}
	for _, w := range slices.Clone(m.waits) {
		if of(w) && m.deadlock(w) {
			m.forget(w)
			w.done(posix.EDEADLK)
		}
	}
}

func (m *Model) deadlock(w *modelWait) bool {
	if w.want.Kind != share.LockPOSIX {
		return false
	}
	seen := map[Who]bool{}
	var reaches func(x *modelWait) bool
	reaches = func(x *modelWait) bool {
		for _, b := range m.blockers(x.file, x.who, x.want) {
			if b == w.who {
				return true
			}
			if seen[b] {
				continue
			}
			seen[b] = true
			for _, y := range m.waits {
				if y.who == b && y.want.Kind == share.LockPOSIX && reaches(y) {
					return true
				}
			}
		}
		return false
	}
	return reaches(w)
}

// Count returns how many bytes are held, counted by owner.
func (m *Model) Count() int {
	n := 0
	for _, owners := range m.bytes {
		n += len(owners)
	}
	return n
}
