package qemuvm

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/sandbox/qemuvm/tame"
)

// Bounds of what is kept and told of a console.
const (
	consoleBytes = 64 << 10
	tailLines    = 20
	tailColumns  = 200
)

// ring keeps the last bytes written to it. It is safe for concurrent use.
type ring struct {
	size int // immutable

	mu    sync.Mutex    // guards the rest
	buf   []byte        // at most 2*size
	grown chan struct{} // closed by the next write; nil: nobody waits
}

func newRing(size int) *ring { return &ring{size: size} }

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p)
	if len(p) > r.size {
		p = p[len(p)-r.size:]
	}
	if len(r.buf)+len(p) > 2*r.size {
		keep := r.size - len(p)
		r.buf = append(r.buf[:0], r.buf[len(r.buf)-keep:]...)
	}
	r.buf = append(r.buf, p...)
	if r.grown != nil {
		close(r.grown)
		r.grown = nil
	}
	return n, nil
}

// await returns when what is kept holds a line with mark in it, or ctx ends.
func (r *ring) await(ctx context.Context, mark string) error {
	for {
		r.mu.Lock()
		_, after, found := bytes.Cut(r.buf, []byte(mark))
		if found && bytes.IndexByte(after, '\n') >= 0 {
			r.mu.Unlock()
			return nil
		}
		if r.grown == nil {
			r.grown = make(chan struct{})
		}
		grown := r.grown
		r.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Bytes returns a copy of the last bytes.
func (r *ring) Bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.buf[max(0, len(r.buf)-r.size):])
}

// panicMark begins the line in which a Linux kernel says why it panicked.
const panicMark = "Kernel panic - "

// consoleTail is the end of a console as errors tell it. After a panic it ends with the
// kernel's reason: what led there comes before, and registers and stack after it.
func consoleTail(b []byte) string {
	if i := bytes.Index(b, []byte(panicMark)); i >= 0 {
		if j := bytes.IndexByte(b[i:], '\n'); j >= 0 {
			b = b[:i+j]
		}
	}
	lines := tame.Tail(b, tailLines, tailColumns)
	if len(lines) == 0 {
		return "console: nothing was written to it"
	}
	return "console:\n  " + strings.Join(lines, "\n  ")
}

// panicLine finds the kernel's reason for a panic; "" when there was none.
func panicLine(b []byte) string {
	i := bytes.Index(b, []byte(panicMark))
	if i < 0 {
		return ""
	}
	b = b[i:]
	if j := bytes.IndexAny(b, "\r\n"); j >= 0 {
		b = b[:j]
	}
	return tame.Line(string(b), tailColumns)
}
