package share

import (
	"context"
	"time"

	"github.com/porthole-run/porthole/share/posix"
)

// Invalidate makes the guest's kernel drop what it has cached of what others have
// changed. It returns when the kernel has done so, or ctx or the session ends; at once
// when no guest is served.
//
// It does not wait for a folder or a file of which this guest has a change of its own
// under way that others are being told of: the guest's kernel holds that folder's lock
// until its request is answered, and the others may wait for this guest in turn. Of
// sessions that wait for each other in a circle one at least began to tell before it was
// told, and that one is not waited for. What such a kernel has cached is dropped right
// after its request, and is believed for a second at most meanwhile.
func (s *Session) Invalidate(ctx context.Context, changes []Change) error {
	return s.invalidate(ctx, changes, true)
}

func (s *Session) invalidate(ctx context.Context, changes []Change, repeat bool) error {
	if !s.opened.Load() {
		return nil
	}
	var waits []*note
	post := func(n *node, msg []byte) error {
		if n.announcing.Load() == 0 {
			t, err := s.post(ctx, n, msg)
			if err == nil {
				waits = append(waits, t)
			}
			return err
		}
		_, err := s.post(ctx, n, msg)
		return err
	}
	var err error
	for _, c := range changes {
		if err != nil {
			break
		}
		if c == (Change{}) {
			err = s.invalidateAll(ctx)
			continue
		}
		if s.single != nil {
			c = s.single.toGuest(c)
		}
		if c.File != (FileID{}) {
			err = s.invalidateFile(c, repeat, post)
		}
		if c.Dir != (FileID{}) && err == nil {
			err = s.invalidateName(c, repeat, post)
		}
	}
	for _, t := range waits {
		select {
		case <-t.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if posix.FromError(err) == posix.ENOTCONN {
		return nil // no guest, nothing cached
	}
	return err
}

func (s *Session) invalidateFile(c Change, repeat bool, post func(*node, []byte) error) error {
	n := s.nodes.find(c.File)
	if n == nil {
		return nil
	}
	defer s.nodes.unref(n)
	if err := s.out.writeAfter(s.notPlain(), nil); err != nil {
		return err
	}
	if repeat && n.looking.Load() > 0 {
		s.notes.again(Change{File: c.File})
	}
	off, length := c.Off, c.Len
	switch {
	case c.Len == 0:
		off = -1 // no data
	case c.Len < 0:
		length = 0 // to the end
	}
	return post(n, inodeNote(n.id, off, length))
}

func (s *Session) invalidateName(c Change, repeat bool, post func(*node, []byte) error) error {
	dir := s.nodes.find(c.Dir)
	if dir == nil {
		return nil
	}
	defer s.nodes.unref(dir)
	if repeat && dir.looking.Load() > 0 {
		s.notes.again(Change{Dir: c.Dir, Name: c.Name})
	}
	if err := post(dir, inodeNote(dir.id, -1, 0)); err != nil || c.Name == "" {
		return err
	}
	return post(dir, s.entryNote(dir.id, c.Name))
}

// post sends a notification about a node. Until the kernel has carried it out, and for
// requests that began before that, answers about the node are not to be believed.
func (s *Session) post(ctx context.Context, n *node, msg []byte) (*note, error) {
	s.nodes.ref(n)
	n.invalNow.Add(1)
	n.inval.Store(s.cache.seq.Add(1))
	return s.notes.post(ctx, &s.out, msg, func() {
		n.inval.Store(s.cache.seq.Add(1))
		n.invalNow.Add(-1)
		s.nodes.unref(n)
	})
}

// mendAfter is how long an invalidation that met a lookup is repeated after: the answer
// may reach the kernel after the notification that was sent later.
const mendAfter = 20 * time.Millisecond

// mend repeats invalidations, until ctx ends.
func (s *Session) mend(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.notes.later.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(mendAfter):
		}
		if err := s.invalidate(ctx, s.notes.takeLater(), false); err != nil && ctx.Err() == nil {
			s.log.Warn("repeat an invalidation", "error", err)
		}
	}
}

// changed tells others of this guest's change before the guest hears that it is made. n
// and m, which may be nil, are the folders or the file whose locks the guest's kernel
// holds meanwhile.
func (s *Session) changed(ctx context.Context, n, m *node, changes ...Change) {
	if s.peers == nil || !s.peers.Shared() {
		return
	}
	for _, x := range [...]*node{n, m} {
		if x != nil {
			x.announcing.Add(1)
			defer x.announcing.Add(-1)
		}
	}
	if s.single != nil {
		for i := range changes {
			changes[i] = s.single.toHost(changes[i])
		}
	}
	s.peers.Announce(ctx, changes)
}

// invalidateAll makes the kernel drop all that it has cached: anything may have changed.
func (s *Session) invalidateAll(ctx context.Context) error {
	if !s.opened.Load() {
		return nil
	}
	s.cache.floor.Store(s.cache.seq.Add(1))
	if err := s.out.writeAfter(s.notPlain(), nil); err != nil {
		return err
	}
	for _, n := range s.nodes.all() {
		var err error
		if ctx.Err() == nil {
			_, err = s.post(ctx, n, inodeNote(n.id, 0, 0))
			for _, base := range s.nodes.known(n) {
				if err == nil {
					_, err = s.post(ctx, n, s.entryNote(n.id, base))
				}
			}
		}
		s.nodes.unref(n)
		if err != nil && ctx.Err() == nil && posix.FromError(err) != posix.ENOTCONN {
			s.log.Warn("invalidate all", "error", err)
		}
	}
	return ctx.Err()
}
