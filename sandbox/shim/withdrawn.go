package shim

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Names for Server.withdrawn, and for messages.
func podName(id string) string       { return "pod " + id }
func containerName(id string) string { return "container " + id }

// checkNew refuses what was removed before it was made. The server's lock is held.
func (s *Server) checkNew(name string) error {
	if s.withdrawn.Has(name) {
		return fmt.Errorf("%s was removed before it was made: %w", name, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// noteGone keeps what is to be removed, and is not there, from being made any more: the
// call that makes it, on which its caller gave up, may be served after this one.
func (s *Server) noteGone(name string, gone func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone() {
		s.withdrawn.Note(name)
	}
}
