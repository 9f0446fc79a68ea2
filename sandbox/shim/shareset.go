package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
)

// A ShareOpener opens a folder or a regular file of the host, to be served to the guest.
type ShareOpener func(ctx context.Context, s ShareSource) (Share, error)

// ShareSource is what a share shows, and how.
type ShareSource struct {
	sandbox.FolderSource
	ReadOnly bool
	Users    *sandbox.UserNamespace // owners are seen through it; nil: as they are
}

// Share is an open folder or file of the host.
type Share interface {
	// ID is the same for all that show the same: a folder of the host, or one name in one.
	ID() string
	// IsFile tells a file from a folder.
	IsFile() bool
	// ReadOnly tells whether the guest is to mount it read-only: nothing of it can change.
	// A folder that was asked for read-only can be one in which a mount of the host's is
	// written to; what is not such a mount refuses changes by itself.
	ReadOnly() bool
	// Serve serves one guest until the stream ends, and closes it. It may be called once.
	Serve(ctx context.Context, conn io.ReadWriteCloser) error
	// Close frees what Open took. Serve has returned before, or was not called.
	Close() error
}

// shareGuest is the guest's side of shares.
type shareGuest interface {
	// open opens the stream of a new share. Channel names its device when it has one of its own.
	open(ctx context.Context) (id uint64, conn net.Conn, channel string, err error)
	attach(ctx context.Context, id uint64, s shareMode, channel string) error
	detach(ctx context.Context, id uint64) error
	// reopen opens the stream of a share by the device that a restored VM came with.
	reopen(ctx context.Context, channel string) (net.Conn, error)
}

// shareMode is how the guest mounts a share.
type shareMode struct{ file, readOnly bool }

// shareKey tells shares apart: containers of the VM that ask for the same get the same.
type shareKey struct {
	id                string
	readOnly, private bool
	hostToContainer   bool
	recursive         bool
	mapped            bool
	users             sandbox.UserNamespace // when mapped
}

// shareSet is the shares of one VM. A share is attached once however many containers use
// it, and detached when the last one has gone.
type shareSet struct {
	opener ShareOpener    // immutable, as the next three; nil: there are no shares
	guest  shareGuest     //
	broken func(error)    // told when a share ends that is in use
	log    *slog.Logger   //
	wg     sync.WaitGroup // the sessions

	mu     sync.Mutex // guards the map and each share's users
	shares map[shareKey]*hostShare
}

// hostShare is one share.
type hostShare struct {
	key  shareKey // immutable
	path string   // immutable; for messages

	users int // guarded by shareSet.mu

	lock    lock // held while the share comes or goes; guards the rest
	source  Share
	id      uint64 // in the guest; 0: not attached
	channel string // its device; empty: it has none of its own
	read    bool   // the guest mounts it read-only
	session *shareSession
}

// shareSession is the serving of a share.
type shareSession struct {
	conn   net.Conn
	ended  chan struct{} // closed when nothing is served any more
	mu     sync.Mutex
	asked  bool // its end is no fault: it is asked for, or the guest has not mounted the share yet
	reason error
}

func newShareSet(opener ShareOpener, g shareGuest, broken func(error), log *slog.Logger) *shareSet {
	return &shareSet{opener: opener, guest: g, broken: broken, log: log, shares: map[shareKey]*hostShare{}}
}

// acquire attaches a share that is missing. On error nothing is acquired.
func (s *shareSet) acquire(ctx context.Context, src ShareSource) (*hostShare, error) {
	if s.opener == nil {
		return nil, fmt.Errorf("share %s: %w", src.Path, errdefs.ErrNotImplemented)
	}
	opened, err := s.opener(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", src.Path, err)
	}
	h := s.pin(keyOf(opened, src), src.Path)
	used, err := s.attach(ctx, h, opened)
	if !used {
		err = errors.Join(err, opened.Close())
	}
	if err == nil {
		return h, nil
	}
	uctx, cancel := undoContext(ctx)
	defer cancel()
	return nil, errors.Join(fmt.Errorf("share %s: %w", src.Path, err), s.release(uctx, h))
}

func keyOf(opened Share, src ShareSource) shareKey {
	key := shareKey{id: opened.ID(), readOnly: src.ReadOnly, private: src.Private, hostToContainer: src.HostToContainer, recursive: src.Recursive}
	if src.Users != nil {
		key.mapped, key.users = true, *src.Users
	}
	return key
}

func (s *shareSet) pin(key shareKey, path string) *hostShare {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.shares[key]
	if h == nil {
		h = &hostShare{key: key, path: path, lock: newLock()}
		s.shares[key] = h
	}
	h.users++
	return h
}

// attach serves the share and lets the guest mount it, unless that was done. It tells
// whether it took what was opened.
func (s *shareSet) attach(ctx context.Context, h *hostShare, opened Share) (used bool, err error) {
	if err := h.lock.acquire(ctx); err != nil {
		return false, err
	}
	defer h.lock.release()
	if h.id != 0 {
		return false, h.session.err()
	}
	id, conn, channel, err := s.guest.open(ctx)
	if err != nil {
		return false, err
	}
	session := &shareSession{conn: conn, ended: make(chan struct{}), asked: true}
	sctx := context.WithoutCancel(ctx) // the end of conn is the session's
	s.wg.Go(func() { s.serve(sctx, h, opened, session) })
	if err := s.guest.attach(ctx, id, shareMode{file: opened.IsFile(), readOnly: opened.ReadOnly()}, channel); err != nil {
		served := session.end()
		if served != nil {
			err = fmt.Errorf("%w (its server: %w)", err, served)
		}
		return false, err
	}
	h.source, h.id, h.channel, h.read, h.session = opened, id, channel, opened.ReadOnly(), session
	session.expect()
	return true, session.err()
}

// serve is a share's goroutine.
func (s *shareSet) serve(ctx context.Context, h *hostShare, opened Share, session *shareSession) {
	s.serveWith(h, session, func() error { return opened.Serve(ctx, session.conn) })
}

func (s *shareSet) serveWith(h *hostShare, session *shareSession, serve func() error) {
	err := serve()
	session.mu.Lock()
	session.reason = err
	asked := session.asked
	session.mu.Unlock()
	close(session.ended)
	if asked {
		return
	}
	if err == nil {
		err = errors.New("the guest ended it")
	}
	s.broken(fmt.Errorf("share of %s has ended: %w: %w", h.path, err, errdefs.ErrUnavailable))
}

// err is why the session cannot be used any more.
func (e *shareSession) err() error {
	select {
	case <-e.ended:
		e.mu.Lock()
		defer e.mu.Unlock()
		return errors.Join(fmt.Errorf("its server has ended: %w", errdefs.ErrUnavailable), e.reason)
	default:
		return nil
	}
}

// ask notes that the end of the session is no fault, expect that it is one.
func (e *shareSession) ask()    { e.setAsked(true) }
func (e *shareSession) expect() { e.setAsked(false) }

func (e *shareSession) setAsked(asked bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = asked
}

// end cuts the session and waits for it.
func (e *shareSession) end() error {
	e.ask()
	e.conn.SetDeadline(time.Unix(1, 0)) // wakes readers of a mux that leaves the other half open
	e.conn.Close()
	<-e.ended
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.reason
}

// release gives back what acquire took: once for each acquire. A share that cannot be
// detached stays and serves the next container that wants it.
func (s *shareSet) release(ctx context.Context, h *hostShare) error {
	lerr := h.lock.acquire(ctx)
	if lerr == nil {
		defer h.lock.release()
	}
	s.mu.Lock()
	h.users--
	last := h.users == 0
	s.mu.Unlock()
	if lerr != nil || !last {
		return lerr
	}
	// Someone may pin the share from here on; the lock makes them wait for it to be gone.
	if h.id != 0 {
		h.session.ask()
		if err := s.guest.detach(ctx, h.id); err != nil {
			h.session.expect()
			return fmt.Errorf("detach share of %s: %w", h.path, err)
		}
		h.session.finish(ctx)
		if err := h.source.Close(); err != nil {
			s.log.WarnContext(ctx, "share was not closed well", logkey.Path, h.path, logkey.Error, err)
		}
		h.source, h.id, h.session = nil, 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users == 0 && s.shares[h.key] == h {
		delete(s.shares, h.key)
	}
	return nil
}

// finish gives the session of a share that was unmounted a moment for its last requests,
// which may be closes, and ends it.
func (e *shareSession) finish(ctx context.Context) {
	timer := time.NewTimer(shareDrain)
	defer timer.Stop()
	select {
	case <-e.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
	e.end()
}

// closeAll ends all sessions. No call is under way any more.
func (s *shareSet) closeAll() {
	for _, h := range s.shares {
		if h.id == 0 {
			continue
		}
		h.session.end()
		if err := h.source.Close(); err != nil {
			s.log.Warn("share was not closed well", logkey.Path, h.path, logkey.Error, err)
		}
	}
	s.wg.Wait()
}
