package share

import (
	"context"
	"sync"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// maxNotes is how many notifications may be on their way: docs/wire.md.
const maxNotes = 64

// A note is a notification on its way. errno may be read when done is closed.
type note struct {
	done  chan struct{}
	errno posix.Errno
	after func() // called once, when the kernel has carried it out or never will
}

func (n *note) finish(e posix.Errno) {
	n.errno = e
	if n.after != nil {
		n.after()
	}
	close(n.done)
}

// notifier sends notifications and matches their answers, which come in order.
type notifier struct {
	slots chan struct{}
	send  sync.Mutex // held while one is queued and written: their orders must be the same

	mu      sync.Mutex // guards the rest
	sent    []*note
	running bool
	ended   chan struct{} // closed by stop

	later struct {
		changes []Change
		wake    chan struct{}
	}
}

func (n *notifier) init() {
	n.slots = make(chan struct{}, maxNotes)
	n.ended = make(chan struct{})
	n.later.wake = make(chan struct{}, 1)
}

func (n *notifier) start(context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running = true
}

// stop gives up all that were not answered.
func (n *notifier) stop() {
	n.mu.Lock()
	all := n.sent
	n.sent, n.running = nil, false
	close(n.ended)
	n.mu.Unlock()
	for _, t := range all {
		t.finish(posix.ENOTCONN)
		<-n.slots
	}
}

// post sends one notification. after may be nil; it is called whatever happens, and must
// not wait.
func (n *notifier) post(ctx context.Context, out *outbox, msg []byte, after func()) (*note, error) {
	t := &note{done: make(chan struct{}), after: after}
	select {
	case n.slots <- struct{}{}:
	case <-ctx.Done():
		t.finish(posix.EINTR)
		return nil, ctx.Err()
	case <-n.ended:
		t.finish(posix.ENOTCONN)
		return nil, posix.ENOTCONN
	}
	n.send.Lock()
	defer n.send.Unlock()
	n.mu.Lock()
	if !n.running {
		n.mu.Unlock()
		<-n.slots
		t.finish(posix.ENOTCONN)
		return nil, posix.ENOTCONN
	}
	n.sent = append(n.sent, t)
	n.mu.Unlock()
	// When this fails the session ends, and stop finishes the note.
	return t, out.write(msg)
}

// acked takes the answer to the oldest notification; false when there is none.
func (n *notifier) acked(errno uint32) bool {
	n.mu.Lock()
	if len(n.sent) == 0 {
		n.mu.Unlock()
		return false
	}
	t := n.sent[0]
	n.sent[0] = nil
	n.sent = n.sent[1:]
	n.mu.Unlock()
	t.finish(posix.Errno(errno))
	<-n.slots
	return true
}

// maxLater bounds the changes put off; past it the oldest are enough of a hint, for the
// caches they are about are short-lived then.
const maxLater = 4096

// again has changes invalidated once more, shortly.
func (n *notifier) again(changes ...Change) {
	n.mu.Lock()
	if len(n.later.changes) < maxLater {
		n.later.changes = append(n.later.changes, changes...)
	}
	n.mu.Unlock()
	select {
	case n.later.wake <- struct{}{}:
	default:
	}
}

func (n *notifier) takeLater() []Change {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.later.changes
	n.later.changes = nil
	return c
}

func inodeNote(id uint64, off, length int64) []byte {
	return fuse.AppendNotify(nil, fuse.NotifyInvalInode, fuse.NotifyInvalInodeOut{Ino: id, Off: uint64(off), Len: uint64(length)})
}

func (s *Session) entryNote(dir uint64, base string) []byte {
	m := fuse.NotifyInvalEntryOut{Parent: dir, Name: base}
	if s.expire.Load() {
		// Dropping a name would detach what the guest has mounted below it. One that has
		// expired is looked up again, and dropped if it is another file's then.
		m.Flags = fuse.ExpireOnly
	}
	return fuse.AppendNotify(nil, fuse.NotifyInvalEntry, m)
}
