// Package console keeps the end of what a guest wrote to its console, and tells it in errors.
//
// It is not for reading consoles, which drivers do. A Ring is safe for concurrent use.
package console

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/internal/tame"
)

// Bounds of what is kept and told of a console.
const (
	// Bytes is how much drivers keep of a guest's console.
	Bytes = 64 << 10
	// Columns is how much is told of one line.
	Columns = 200

	tailLines = 20
)

// Ring keeps the last bytes written to it.
type Ring struct {
	size int // immutable

	mu    sync.Mutex    // guards the rest
	buf   []byte        // at most 2*size
	grown chan struct{} // closed by the next write; nil: nobody waits
}

// NewRing makes a Ring of size bytes.
func NewRing(size int) *Ring { return &Ring{size: size} }

// Write implements io.Writer; it never fails.
func (r *Ring) Write(p []byte) (int, error) {
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

// Await returns when what is kept holds a line with mark in it, or ctx ends.
func (r *Ring) Await(ctx context.Context, mark string) error {
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
func (r *Ring) Bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.buf[max(0, len(r.buf)-r.size):])
}

// panicMark begins the line in which a Linux kernel says why it panicked.
const panicMark = "Kernel panic - "

// Tail is the end of a console as errors tell it. After a panic it ends with the
// kernel's reason: what led there comes before, and registers and stack after it.
func Tail(b []byte) string {
	if i := bytes.Index(b, []byte(panicMark)); i >= 0 {
		if j := bytes.IndexByte(b[i:], '\n'); j >= 0 {
			b = b[:i+j]
		}
	}
	lines := tame.Tail(b, tailLines, Columns)
	if len(lines) == 0 {
		return "console: nothing was written to it"
	}
	return "console:\n  " + strings.Join(lines, "\n  ")
}

// PanicLine finds the kernel's reason for a panic; "" when there was none.
func PanicLine(b []byte) string {
	i := bytes.Index(b, []byte(panicMark))
	if i < 0 {
		return ""
	}
	b = b[i:]
	if j := bytes.IndexAny(b, "\r\n"); j >= 0 {
		b = b[:j]
	}
	return tame.Line(string(b), Columns)
}
