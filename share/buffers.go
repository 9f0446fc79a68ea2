package share

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/porthole-run/porthole/share/fuse"
)

// A buffer is one of a pool, or, when its class is negative, of none.
type buffer struct {
	b     []byte
	class int
}

// Requests are mostly small; reads and writes come in pages, read-aheads, or whole.
var classes = [...]int{512, 8 << 10, 136 << 10, fuse.MaxFrame}

var pools [len(classes)]sync.Pool

// getBuffer returns a buffer of n bytes with what was in it before.
func getBuffer(n int) *buffer {
	for i, size := range classes {
		if n > size {
			continue
		}
		if p, ok := pools[i].Get().(*buffer); ok {
			p.b = p.b[:n]
			return p
		}
		return &buffer{b: make([]byte, n, size), class: i}
	}
	return &buffer{b: make([]byte, n), class: -1}
}

// put gives the buffer back. Nothing may use it after.
func (p *buffer) put() {
	if p != nil && p.class >= 0 && cap(p.b) == classes[p.class] {
		pools[p.class].Put(p)
	}
}

// outbox is the stream's direction to the guest: one message at a time.
type outbox struct {
	mu  sync.Mutex // held while a message is written
	w   io.Writer
	end func(why error) // ends the session
	n   *atomic.Uint64  // counts what is written
}

func (o *outbox) init(w io.Writer, end func(why error)) { o.w, o.end = w, end }

func (o *outbox) write(b []byte) error { return o.writeAfter(nil, b) }

// writeAfter writes a message, and in front of it the one that first returns, if any.
// There is no other message between the call of first and the end of b.
func (o *outbox) writeAfter(first func() []byte, b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if first != nil {
		if m := first(); m != nil {
			b = append(m, b...)
		}
	}
	if len(b) == 0 {
		return nil
	}
	n, err := o.w.Write(b)
	if o.n != nil {
		o.n.Add(uint64(n))
	}
	return err
}
