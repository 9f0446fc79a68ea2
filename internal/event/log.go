package event

import (
	"context"
	"sync"
)

// Log holds the last events of type E. The zero value is not usable: see NewLog.
// It is safe for concurrent use.
type Log[E any] struct {
	keep int // immutable after NewLog

	mu      sync.Mutex    // guards the rest
	first   uint64        // number of events[0]; numbers start at 1
	events  []E           // oldest first
	changed chan struct{} // closed when an event is added, then replaced
}

// NewLog returns a log that holds the last keep events.
func NewLog[E any](keep int) *Log[E] {
	return &Log[E]{keep: keep, first: 1, changed: make(chan struct{})}
}

// Add appends the event that build returns when told its number.
func (l *Log[E]) Add(build func(seq uint64) E) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == l.keep {
		copy(l.events, l.events[1:])
		l.events = l.events[:l.keep-1]
		l.first++
	}
	l.events = append(l.events, build(l.first+uint64(len(l.events))))
	close(l.changed)
	l.changed = make(chan struct{})
}

// Last is the number of the newest event; 0: there was none yet.
func (l *Log[E]) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first + uint64(len(l.events)) - 1
}

// Follow calls send for each kept event after number after, oldest first, then for
// new ones as they come, until ctx ends or send fails. It returns that error. A
// follower that is slower than the log misses events, and sees it by their numbers.
func (l *Log[E]) Follow(ctx context.Context, after uint64, send func(E) error) error {
	for {
		batch, last, changed := l.since(after)
		for _, e := range batch {
			if err := send(e); err != nil {
				return err
			}
		}
		after = last
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// since returns the events after number after, the number of the last one, and a
// channel that is closed when there are more.
func (l *Log[E]) since(after uint64) (batch []E, last uint64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.first + uint64(len(l.events))
	from := max(after+1, l.first)
	if after >= next { // a number from another life of the guest, or made up
		from = l.first
	}
	if from < next {
		batch = append(batch, l.events[from-l.first:]...)
	}
	return batch, next - 1, l.changed
}
