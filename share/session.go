package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/porthole-run/porthole/share/fuse"
)

// Config says what a Session serves, and how.
type Config struct {
	Backend  Backend
	ReadOnly bool // each change is EROFS
	// Private means that no other VM can get the files while the session lasts: locks
	// are left to the guest's kernel.
	Private bool
	// Locker keeps this session's locks, which the session closes at its end. Needed
	// when not Private.
	Locker Locker
	Peers  Peers // may be nil: nobody else has the files
	// Owners has the guest see owners through a user namespace; nil: as they are.
	Owners *Owners
	Log    *slog.Logger
	Limits Limits
}

// Limits bound what one guest can make the server keep. Zero fields are the defaults.
type Limits struct {
	Nodes   int // files that the guest's kernel knows: 1 M; it is asked to forget before
	Handles int // open files and folders: 64 Ki
	Active  int // requests worked on at once: 64
	Queued  int // requests read and not begun: 4,096
	Bytes   int // of requests and replies in memory: 128 MiB
	Waits   int // locks waited for, and owners of locks through open files: 64 Ki
	Watches int // folders watched: 8 Ki
}

func (l *Limits) setDefaults() {
	for _, f := range []struct {
		v   *int
		def int
	}{{&l.Nodes, 1 << 20}, {&l.Handles, 64 << 10}, {&l.Active, 64}, {&l.Queued, 4096},
		{&l.Bytes, 128 << 20}, {&l.Waits, 64 << 10}, {&l.Watches, 8 << 10}} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
}

// A Session serves one Backend to one guest over one stream. Its methods are safe for
// concurrent use.
type Session struct {
	// Immutable after NewSession.
	backend  Backend
	watcher  Watcher // nil: the host tells of no changes
	features Features
	single   *single // the backend, when it is one file
	readOnly bool
	private  bool
	locker   Locker
	peers    Peers
	owners   *Owners
	log      *slog.Logger
	limits   Limits

	nodes    nodeTable
	handles  handleTable
	waits    waitTable
	mappings mappings
	plain    plain
	out      outbox
	queue    queue
	cache    cache
	notes    notifier
	watches  watchSet
	journal  journal
	inject   injector

	served   atomic.Bool
	opened   atomic.Bool // INIT is done
	expire   atomic.Bool // the kernel knows expire-only
	blind    atomic.Bool // the watcher has ended
	tells    atomic.Bool // the watcher tells who made a change
	tid      atomic.Uint32
	traffic  traffic
	restored bool          // set before Serve
	renewed  chan struct{} // see Renewed

	counts [fuse.OpCount]atomic.Uint64
	panics atomic.Uint64
}

// NewSession returns a Session that waits for Serve.
func NewSession(c Config) (*Session, error) {
	if c.Backend == nil {
		return nil, errors.New("new session: no backend")
	}
	if !c.Private && c.Locker == nil {
		return nil, errors.New("new session: no locker for files that others may have")
	}
	if o := c.Owners; o != nil {
		if err := errors.Join(o.UIDs.Check(), o.GIDs.Check()); err != nil {
			return nil, fmt.Errorf("new session: %w", err)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Limits.setDefaults()
	s := &Session{backend: c.Backend, features: c.Backend.Features(), readOnly: c.ReadOnly,
		renewed: make(chan struct{}), private: c.Private, locker: c.Locker, peers: c.Peers, owners: c.Owners, log: c.Log, limits: c.Limits}
	s.watcher, _ = c.Backend.(Watcher)
	s.single = oneFile(c.Backend)
	root := c.Backend.Root()
	attr, err := root.Attr()
	if err != nil {
		return nil, fmt.Errorf("new session: root: %w", err)
	}
	s.nodes.init(root, attr, c.Limits.Nodes, s.gone)
	s.handles.init(c.Limits.Handles)
	s.waits.init(c.Limits.Waits)
	s.queue.init(c.Limits)
	s.notes.init()
	s.watches.init()
	s.inject.init()
	return s, nil
}

// Stats returns how many requests came, by the kernel's names of their opcodes, and
// "panics" when a handler had any.
func (s *Session) Stats() map[string]uint64 {
	m := make(map[string]uint64)
	for i := range s.counts {
		if n := s.counts[i].Load(); n > 0 {
			m[fuse.Opcode(i).String()] = n
		}
	}
	if n := s.panics.Load(); n > 0 {
		m["panics"] = n
	}
	return m
}

// Serve serves the guest at the stream's other end until the stream or ctx ends, or the
// guest breaks the protocol. It closes conn, waits for what it started, and frees all
// that the session holds but the Backend. It may be called once. The end of the stream
// is no error.
func (s *Session) Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	if s.served.Swap(true) {
		return errors.New("serve share: the session has been used")
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	var closing sync.Once
	end := func(why error) {
		cancel(why)
		closing.Do(func() { _ = conn.Close() }) // what is lost in it is the guest's
	}
	stop := context.AfterFunc(ctx, func() { end(nil) })
	defer stop()

	s.out.init(conn, end)
	s.out.n = &s.traffic.out
	var helpers sync.WaitGroup
	s.notes.start(ctx)
	if s.watcher != nil {
		helpers.Go(func() { s.follow(ctx) })
	}
	helpers.Go(func() { s.renew(ctx) })
	helpers.Go(func() { s.mend(ctx) })
	helpers.Go(func() { s.trim(ctx) })
	end(s.read(ctx, conn))
	err := context.Cause(ctx)
	s.queue.close()
	s.notes.stop()
	helpers.Wait()
	s.free()
	if outer.Err() != nil || isEnd(err) {
		return nil
	}
	return fmt.Errorf("serve share: %w", err)
}

// isEnd says whether err is that the other end of a stream is gone, or that it was closed
// here. A guest that has unmounted waits for no answer, so an answer may be what meets it.
func isEnd(err error) bool {
	for _, end := range []error{io.EOF, io.ErrClosedPipe, fs.ErrClosed, net.ErrClosed, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// read takes the guest's messages off the stream. It never waits for a request to be
// done, but when too many are queued.
func (s *Session) read(ctx context.Context, conn io.Reader) error {
	frames := fuse.NewReader(countedReader{conn, &s.traffic.in}, fuse.InHeaderSize, fuse.MaxFrame)
	for {
		var in *buffer
		frame, err := frames.Next(func(n int) []byte { in = getBuffer(n); return in.b })
		if err != nil {
			in.put()
			return err
		}
		s.traffic.frames.Add(1)
		s.traffic.framed.Add(uint64(len(frame)))
		r := &request{in: in, d: fuse.NewDecoder(frame)}
		r.Decode(&r.d)
		if err := s.route(ctx, r); err != nil {
			return err
		}
		s.traffic.routed.Add(1)
	}
}

// free gives back all that the guest had.
func (s *Session) free() {
	if s.locker != nil {
		if err := s.locker.Close(); err != nil {
			s.log.Warn("give back a guest's locks", "error", err)
		}
	}
	for _, h := range s.handles.drain() {
		if err := h.close(); err != nil {
			s.log.Debug("close a guest's file", "error", err)
		}
	}
	s.nodes.drain()
}

// gone frees a node that nothing uses any more.
func (s *Session) gone(n *node) {
	s.unwatch(n)
	if n.id != fuse.RootID { // the root is the backend's
		n.n.Release()
	}
}
