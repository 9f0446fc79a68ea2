package share

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/porthole-run/porthole/share/fuse"
	"github.com/porthole-run/porthole/share/posix"
)

// Before the first write of a file the guest's kernel asks whether it has capabilities,
// which a write takes away. The server takes them away itself, so that nothing but a
// round trip hangs on the answer. With the answer to an open for writing the relay is
// told that the file has none, if so, and answers that question itself: once, within a
// second, and not after anybody was seen to change the file's attributes meanwhile.

const (
	capability = "security.capability"
	plainFor   = time.Second
)

// plain is what the relay was told.
type plain struct {
	epoch atomic.Uint64 // moves when a file has got capabilities, or may have
	last  time.Time     // when the relay was last told of a file; guarded by the outbox
}

// plainly has the relay told, with the answer to r, that n has no capabilities.
func (s *Session) plainly(r *request, n *node) {
	if s.features.NoSecurity || s.single != nil || s.tid.Load() == 0 {
		return // the relay needs not be told; what the one file is may change; no relay
	}
	epoch := s.plain.epoch.Load()
	if _, err := n.n.Getxattr(capability); !errors.Is(err, posix.ENODATA) {
		return
	}
	id := n.id
	r.first = func() []byte {
		if s.plain.epoch.Load() != epoch {
			return nil
		}
		s.plain.last = time.Now()
		return fuse.AppendNotify(nil, fuse.CodePlain, fuse.Plain{Node: id})
	}
}

// notPlain notes that a file has got capabilities, or may have, and returns what takes
// back what the relay may still believe, for writeAfter.
func (s *Session) notPlain() (first func() []byte) {
	s.plain.epoch.Add(1)
	return func() []byte {
		if time.Since(s.plain.last) > plainFor {
			return nil
		}
		return fuse.AppendNotify(nil, fuse.CodePlain, fuse.Plain{})
	}
}
