package stdio

import (
	"io"
	"sync"
)

// A Joint is a Stream over one that another may take the place of, when the connection to
// the host under it has ended and a new one is there: a VM that was saved and restored. Reads
// and writes wait meanwhile. It is safe for concurrent use.
type Joint struct {
	mu      sync.Mutex // guards the rest
	now     Stream
	ended   bool          // CloseWrite was called
	closed  bool          // Close was called
	changed chan struct{} // closed when now or closed changes, then replaced
}

// A Breaker is a Stream that can tell the end of the connection under it from its own.
type Breaker interface {
	Broken() bool
}

// NewJoint returns a Joint over s, which it owns.
func NewJoint(s Stream) *Joint { return &Joint{now: s, changed: make(chan struct{})} }

// Rejoin puts s in the place of the stream that is broken. It owns s: a Joint that is closed
// closes it.
func (j *Joint) Rejoin(s Stream) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		s.Close()
		return
	}
	old := j.now
	j.now = s
	if j.ended {
		s.CloseWrite()
	}
	close(j.changed)
	j.changed = make(chan struct{})
	old.Close()
}

func (j *Joint) current() Stream {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.now
}

// replaced waits until another stream has taken the place of s, which is broken. It reports
// false when s ended by itself, or the Joint is closed.
func (j *Joint) replaced(s Stream) bool {
	for {
		j.mu.Lock()
		closed, now, changed := j.closed, j.now, j.changed
		j.mu.Unlock()
		switch {
		case closed:
			return false
		case now != s:
			return true
		}
		if b, ok := s.(Breaker); !ok || !b.Broken() {
			return false
		}
		<-changed
	}
}

// Read implements Stream.
func (j *Joint) Read(b []byte) (int, error) {
	for {
		s := j.current()
		n, err := s.Read(b)
		if n > 0 {
			return n, nil
		}
		if err == nil || !j.replaced(s) {
			return 0, err
		}
	}
}

// Write implements Stream. What the broken stream had taken is not sent again.
func (j *Joint) Write(b []byte) (int, error) {
	done := 0
	for {
		s := j.current()
		n, err := s.Write(b[done:])
		done += n
		if err == nil && done < len(b) {
			err = io.ErrShortWrite
		}
		if err == nil || !j.replaced(s) {
			return done, err
		}
	}
}

// CloseWrite implements Stream.
func (j *Joint) CloseWrite() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	return j.now.CloseWrite()
}

// Close implements Stream.
func (j *Joint) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.closed = true
		close(j.changed)
		j.changed = make(chan struct{})
	}
	return j.now.Close()
}
