package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// errSlowClient is why a client was dropped.
var errSlowClient = fmt.Errorf("client does not read its output: %w", errdefs.ErrResourceExhausted)

// output carries one output stream of a container from the guest to its log and to the
// clients attached to it.
type output struct {
	log io.Writer // immutable; nil: no log is kept

	mu     sync.Mutex // guards the rest
	taps   map[*tap]struct{}
	logErr error     // the log's first error
	ended  bool      // no more output comes
	lastAt time.Time // of the last bytes
	busy   bool      // bytes are on their way to the log and clients
	done   chan struct{}
}

// outputs are those that the container has: with a terminal there is one.
func (c *container) outputs() []*output {
	var out []*output
	for _, o := range []*output{c.stdout, c.stderr} {
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

func newOutput(log io.Writer) *output {
	return &output{log: log, taps: map[*tap]struct{}{}, done: make(chan struct{}), lastAt: time.Now()}
}

// run copies from src until its end, which it is the owner of the goroutine's to bring
// about. A log that cannot be written to does not stop the container.
func (o *output) run(src io.Reader) {
	defer o.end()
	buf := make([]byte, copyBuffer)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			o.publish(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func (o *output) publish(p []byte) {
	o.mu.Lock()
	o.busy = true
	o.mu.Unlock()
	var logErr error
	if o.log != nil {
		_, logErr = o.log.Write(p)
	}
	o.mu.Lock()
	if o.logErr == nil {
		o.logErr = logErr
	}
	taps := make([]*tap, 0, len(o.taps))
	for t := range o.taps {
		taps = append(taps, t)
	}
	o.mu.Unlock()
	for _, t := range taps {
		if !t.put(p) {
			o.remove(t)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy, o.lastAt = false, time.Now()
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	for t := range o.taps {
		t.finish(nil)
	}
	close(o.done)
}

// add joins a client, which gets what comes from now on.
func (o *output) add(t *tap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		t.finish(nil)
		return
	}
	o.taps[t] = struct{}{}
}

func (o *output) remove(t *tap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.taps, t)
}

// drain waits until the output has ended, after its process has: at most until nothing
// came for a while, since a process left behind may hold the stream open for ever, and
// at most for limit, unless that is 0.
func (o *output) drain(ctx context.Context, limit time.Duration) { o.settle(ctx, drainQuiet, limit) }

// settle waits until the output has ended, or nothing came for a while, which begins now.
func (o *output) settle(ctx context.Context, quiet, limit time.Duration) {
	begin := time.Now()
	tick := time.NewTicker(quiet / 8)
	defer tick.Stop()
	for {
		select {
		case <-o.done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		o.mu.Lock()
		still := !o.busy && time.Since(o.lastAt) >= quiet
		o.mu.Unlock()
		if waited := time.Since(begin); still && waited >= quiet || limit > 0 && waited >= limit {
			return
		}
	}
}

func (o *output) logError() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.logErr
}

// tap is one attached client's end of an output: a bounded buffer, and a goroutine that
// empties it into the client's connection.
type tap struct {
	conn net.Conn // immutable

	mu      sync.Mutex // guards the rest
	pending []byte
	room    chan struct{} // closed and made anew when pending was taken
	wake    chan struct{} // has an element when there is something to do
	over    bool          // nothing is added any more
	err     error
	done    chan struct{} // closed when run has ended
}

func newTap(conn net.Conn) *tap {
	return &tap{conn: conn, room: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// put adds bytes. When the buffer is full it gives the client a bounded time to take
// some, and else drops it: false.
func (t *tap) put(p []byte) bool {
	var timer *time.Timer
	for {
		t.mu.Lock()
		if t.over {
			t.mu.Unlock()
			return false
		}
		if len(t.pending)+len(p) <= attachBuffer {
			t.pending = append(t.pending, p...)
			t.mu.Unlock()
			t.signal()
			return true
		}
		room := t.room
		t.mu.Unlock()
		if timer == nil {
			timer = time.NewTimer(attachStall)
			defer timer.Stop()
		}
		select {
		case <-room:
		case <-t.done:
			return false
		case <-timer.C:
			t.finish(errSlowClient)
			t.conn.SetWriteDeadline(time.Unix(1, 0))
			return false
		}
	}
}

// finish lets run end once the buffer is written, or at once when err is not nil.
func (t *tap) finish(err error) {
	t.mu.Lock()
	if !t.over {
		t.over, t.err = true, err
		t.conn.SetWriteDeadline(time.Now().Add(flushTimeout))
	}
	t.mu.Unlock()
	t.signal()
}

func (t *tap) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// run writes to the client until finish, or until the client is gone, and closes the
// connection. It returns why the client was dropped, or nil.
func (t *tap) run() error {
	defer close(t.done)
	defer t.conn.Close()
	buf := make([]byte, copyBuffer)
	for range t.wake {
		for {
			n, err := t.take(buf)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if _, err := t.conn.Write(buf[:n]); err != nil {
				return t.fail(err)
			}
		}
		if t.finished() {
			return nil
		}
	}
	return nil
}

func (t *tap) take(buf []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return 0, t.err
	}
	n := copy(buf, t.pending)
	t.pending = t.pending[n:]
	if len(t.pending) == 0 {
		t.pending = nil // a burst's buffer is not kept
	}
	if n > 0 {
		close(t.room)
		t.room = make(chan struct{})
	}
	return n, nil
}

// fail stops further puts. It returns why the client was dropped; nil when it has gone.
func (t *tap) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.err == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		t.err = errSlowClient
	}
	return t.err
}

func (t *tap) finished() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over && len(t.pending) == 0
}
