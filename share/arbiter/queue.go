package arbiter

import (
	"io"
	"sync"
)

// queue has the messages that a connection is yet to send, in order.
type queue struct {
	mu     sync.Mutex // guards what follows
	more   sync.Cond  // there is something to send, or the end
	less   sync.Cond  // something was sent, or the end
	buf    []byte
	closed bool
}

// queueFull is when a connection's requests are left unread until it has read answers.
const queueFull = 4 << 20

func newQueue() *queue {
	q := &queue{}
	q.more.L, q.less.L = &q.mu, &q.mu
	return q
}

// push never blocks. After close it does nothing.
func (q *queue) push(m *message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	b, err := encode(q.buf, m)
	if err != nil {
		return // past a bound that all who push keep to
	}
	q.buf = b
	q.more.Signal()
}

// waitForRoom returns when the queue is not full.
func (q *queue) waitForRoom() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && len(q.buf) > queueFull {
		q.less.Wait()
	}
}

// drain writes until close, or an error.
func (q *queue) drain(w io.Writer) error {
	var spare []byte
	for {
		q.mu.Lock()
		for !q.closed && len(q.buf) == 0 {
			q.more.Wait()
		}
		if q.closed {
			q.mu.Unlock()
			return nil
		}
		b := q.buf
		q.buf = spare[:0]
		q.less.Broadcast()
		q.mu.Unlock()
		if _, err := w.Write(b); err != nil {
			return err
		}
		if spare = b; cap(spare) > queueFull {
			spare = nil
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
	q.less.Broadcast()
}
