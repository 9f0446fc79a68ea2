package stdio

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Bounds on what waits.
const (
	// MaxWaiting is how many streams may wait to be claimed.
	MaxWaiting = 256
	// KeepWaiting is how long a stream waits before it is dropped.
	KeepWaiting = 30 * time.Second
	// ClaimWait is how long a claim waits for streams that are on their way.
	ClaimWait = 10 * time.Second
)

// A Stream is a byte channel to the host. Close ends both directions and does not
// block on a peer that still sends; CloseWrite ends the direction to the host.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Registry holds streams between their arrival and their claim.
type Registry struct {
	mu      sync.Mutex // guards the rest
	waiting map[uint64]*waiting
	arrived chan struct{} // closed when a stream arrives, then replaced
}

// waiting is a stream that nothing has claimed.
type waiting struct {
	stream Stream
	timer  *time.Timer
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{waiting: map[uint64]*waiting{}, arrived: make(chan struct{})}
}

// Put adds a stream under the host's id and owns it from then on. On error the stream
// is closed: AlreadyExists for an id that waits, ResourceExhausted when too many wait.
func (r *Registry) Put(id uint64, s Stream) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.waiting[id]; ok {
		s.Close()
		return fmt.Errorf("stream %d waits already: %w", id, errdefs.ErrAlreadyExists)
	}
	if len(r.waiting) >= MaxWaiting {
		s.Close()
		return fmt.Errorf("stream %d: %d streams wait already: %w", id, MaxWaiting, errdefs.ErrResourceExhausted)
	}
	w := &waiting{stream: s}
	w.timer = time.AfterFunc(KeepWaiting, func() { r.drop(id, w) })
	r.waiting[id] = w
	close(r.arrived)
	r.arrived = make(chan struct{})
	return nil
}

// drop closes a stream that nothing claimed in time.
func (r *Registry) drop(id uint64, w *waiting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[id] == w {
		delete(r.waiting, id)
		w.stream.Close()
	}
}

// Claim takes the streams with the given ids; 0 gives a nil stream. It waits up to
// ClaimWait for those that have not arrived, and takes all or none: NotFound names
// the first that did not come. The caller owns the streams.
func (r *Registry) Claim(ctx context.Context, ids ...uint64) ([]Stream, error) {
	seen := map[uint64]bool{}
	for _, id := range ids {
		if id != 0 && seen[id] {
			return nil, fmt.Errorf("stream %d is named twice: %w", id, errdefs.ErrInvalidArgument)
		}
		seen[id] = true
	}
	timeout := time.NewTimer(ClaimWait)
	defer timeout.Stop()
	for {
		streams, missing, arrived := r.take(ids)
		if missing == 0 {
			return streams, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for stream %d: %w", missing, ctx.Err())
		case <-timeout.C:
			return nil, fmt.Errorf("stream %d did not come in %v: %w", missing, ClaimWait, errdefs.ErrNotFound)
		}
	}
}

// take removes and returns the streams when all are there, else it says which is not.
func (r *Registry) take(ids []uint64) (streams []Stream, missing uint64, arrived <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if _, ok := r.waiting[id]; id != 0 && !ok {
			return nil, id, r.arrived
		}
	}
	streams = make([]Stream, len(ids))
	for i, id := range ids {
		if id == 0 {
			continue
		}
		w := r.waiting[id]
		w.timer.Stop()
		delete(r.waiting, id)
		streams[i] = w.stream
	}
	return streams, 0, nil
}

// Drop closes every stream that waits: the host that opened them is gone.
func (r *Registry) Drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, w := range r.waiting {
		w.timer.Stop()
		delete(r.waiting, id)
		w.stream.Close()
	}
}
