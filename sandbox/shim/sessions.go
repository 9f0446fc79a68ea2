package shim

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

// sessions joins the streams that clients open with the calls that name them.
type sessions struct {
	mu     sync.Mutex // guards all, the sessions' fields too
	byID   map[api.SessionID]*session
	parked int // streams that no call has claimed yet
	closed bool
	change chan struct{} // closed and made anew at each change
}

// session is the streams of one exec, attach or port-forward.
type session struct {
	id      api.SessionID
	streams map[api.StreamKind]net.Conn
	expire  *time.Timer // closes what no call claims
	claimed bool
	cancel  context.CancelFunc
	resize  func(width, height uint16)
	width   uint16 // the last size asked for
	height  uint16
	sized   chan struct{} // closed when there is a first one
}

func newSessions() *sessions {
	return &sessions{byID: map[api.SessionID]*session{}, change: make(chan struct{})}
}

func (s *sessions) changed() {
	close(s.change)
	s.change = make(chan struct{})
}

// park keeps a stream until a call claims it, or a time limit.
func (s *sessions) park(id api.SessionID, kind api.StreamKind, conn net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errdefs.ErrUnavailable
	}
	if s.parked >= maxParkedStreams {
		return fmt.Errorf("%d streams wait for their calls: %w", s.parked, errdefs.ErrResourceExhausted)
	}
	e := s.byID[id]
	if e == nil {
		e = &session{id: id, streams: map[api.StreamKind]net.Conn{}, sized: make(chan struct{})}
		e.expire = time.AfterFunc(parkTimeout, func() { s.drop(e) })
		s.byID[id] = e
	}
	if e.claimed || e.streams[kind] != nil {
		return fmt.Errorf("stream of kind %d: %w", kind, errdefs.ErrAlreadyExists)
	}
	e.streams[kind] = conn
	s.parked++
	s.changed()
	return nil
}

func (s *sessions) drop(e *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.claimed {
		s.removeLocked(e)
	}
}

func (s *sessions) removeLocked(e *session) {
	e.expire.Stop()
	if !e.claimed {
		s.parked -= len(e.streams)
	}
	for _, c := range e.streams {
		c.Close()
	}
	if s.byID[e.id] == e {
		delete(s.byID, e.id)
	}
}

// claim gives a call the streams of its session, waiting for those that are on their
// way, and a context that Cancel ends. release must be called in the end; it closes them.
func (s *sessions) claim(ctx context.Context, r *api.Session, kinds []api.StreamKind) (*session, context.Context, func(), error) {
	id, err := sessionID(r.GetId())
	if err != nil {
		return nil, nil, nil, err
	}
	wctx, stop := context.WithTimeoutCause(ctx, headerTimeout,
		fmt.Errorf("streams of the session did not come: %w", errdefs.ErrFailedPrecondition))
	defer stop()
	s.mu.Lock()
	for {
		if s.closed {
			s.mu.Unlock()
			return nil, nil, nil, errdefs.ErrUnavailable
		}
		e := s.byID[id]
		if e == nil && len(kinds) == 0 {
			e = &session{id: id, expire: time.NewTimer(parkTimeout), sized: make(chan struct{})}
			s.byID[id] = e
		}
		if e != nil && e.has(kinds) {
			defer s.mu.Unlock()
			if e.claimed {
				return nil, nil, nil, fmt.Errorf("session: %w", errdefs.ErrAlreadyExists)
			}
			e.expire.Stop()
			e.claimed = true
			s.parked -= len(e.streams)
			cctx, cancel := context.WithCancel(ctx)
			e.cancel = cancel
			s.changed()
			return e, cctx, func() { cancel(); s.release(e) }, nil
		}
		change := s.change
		s.mu.Unlock()
		select {
		case <-change:
		case <-wctx.Done():
			return nil, nil, nil, context.Cause(wctx)
		}
		s.mu.Lock()
	}
}

func (e *session) has(kinds []api.StreamKind) bool {
	for _, k := range kinds {
		if e.streams[k] == nil {
			return false
		}
	}
	return true
}

func (s *sessions) release(e *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(e)
}

// find returns a claimed session, waiting a moment for one whose call is on its way.
func (s *sessions) find(ctx context.Context, raw []byte) (*session, error) {
	id, err := sessionID(raw)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		e, change := s.byID[id], s.change
		ok := e != nil && e.claimed
		s.mu.Unlock()
		if ok {
			return e, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, fmt.Errorf("session: %w", errdefs.ErrNotFound)
		}
	}
}

// setResize makes f the way to resize the session's terminal, and passes on a size that
// was asked for before.
func (s *sessions) setResize(e *session, f func(width, height uint16)) {
	s.mu.Lock()
	e.resize = f
	w, h := e.width, e.height
	s.mu.Unlock()
	if w != 0 || h != 0 {
		f(w, h)
	}
}

// firstSize waits a little for the size of a session's terminal: the CRI's requests have
// none, clients that know it send it next, and a program looks at it when it starts. It
// returns zeros when none has come.
func (s *sessions) firstSize(ctx context.Context, e *session) (width, height uint16) {
	timer := time.NewTimer(firstSizeTimeout)
	defer timer.Stop()
	select {
	case <-e.sized:
	case <-timer.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.width, e.height
}

func (s *sessions) doResize(e *session, width, height uint16) {
	s.mu.Lock()
	f := e.resize
	e.width, e.height = width, height
	select {
	case <-e.sized:
	default:
		close(e.sized)
	}
	s.mu.Unlock()
	if f != nil {
		f(width, height)
	}
}

func (s *sessions) doCancel(e *session) {
	s.mu.Lock()
	cancel := e.cancel
	s.mu.Unlock()
	cancel()
}

// closeAll ends all sessions and takes no more.
func (s *sessions) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, e := range s.byID {
		if e.claimed {
			e.cancel() // its call releases it
			continue
		}
		s.removeLocked(e)
	}
	s.changed()
}

func sessionID(raw []byte) (id api.SessionID, err error) {
	if len(raw) != api.SessionIDSize {
		return id, fmt.Errorf("session id of %d bytes: %w", len(raw), errdefs.ErrInvalidArgument)
	}
	return api.SessionID(raw), nil
}

// serveStreams parks the streams that clients open, until ctx or the listener ends.
func (s *Server) serveStreams(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.wg.Go(func() {
			if err := s.takeStream(conn); err != nil {
				conn.Close()
				s.log.WarnContext(ctx, "stream was refused", logkey.Error, err)
			}
		})
	}
}

func (s *Server) takeStream(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(headerTimeout)); err != nil {
		return err
	}
	id, kind, err := api.ReadStreamHeader(conn)
	if err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.sessions.park(id, kind, conn)
}
