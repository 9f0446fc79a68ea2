package stdio

import (
	"io"
	"sync"
)

// buffers are shared by all relays, as most of them are idle most of the time.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Input copies from the host to a process until the host ends its direction or the
// process no longer reads, then closes dst. What the host sends after that is thrown
// away, so that it never waits for a process that is gone.
func Input(dst io.WriteCloser, src Stream) {
	transfer(dst, src)
	dst.Close()
	transfer(io.Discard, src)
}

// TerminalInput is Input for a terminal, which has no end of its own to close: the
// terminal stays open when the host ends its direction.
func TerminalInput(dst io.Writer, src Stream) {
	transfer(dst, src)
	transfer(io.Discard, src)
}

// Output copies from a process to the host until the process's side ends, then ends
// the direction to the host. When the host's side breaks, the rest is thrown away:
// a process must not stop because nobody listens.
func Output(dst Stream, src io.Reader) {
	transfer(dst, src)
	dst.CloseWrite()
	transfer(io.Discard, src)
}

// Relay joins a stream and a connection, each direction ending by itself, until both
// have ended or one breaks. It closes both.
func Relay(a, b Stream) {
	var wg sync.WaitGroup
	one := func(dst, src Stream) {
		if transfer(dst, src) != nil {
			dst.Close()
			src.Close()
			return
		}
		dst.CloseWrite()
	}
	wg.Go(func() { one(a, b) })
	wg.Go(func() { one(b, a) })
	wg.Wait()
	a.Close()
	b.Close()
}

// transfer copies until src ends (nil) or either side breaks.
func transfer(dst io.Writer, src io.Reader) error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	// Without the wrappers io.CopyBuffer would let a side choose another buffer.
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *b)
	return err
}

// Discard reads a process's side to its end for nobody.
func Discard(src io.Reader) { transfer(io.Discard, src) }
