package arbiter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/lock"
)

const (
	lingerTime   = time.Second      // without members, before the end
	graceTime    = 3 * time.Second  // for claims after the death of the arbiter before
	announceTime = 2 * time.Second  // to wait for a member's guest
	sharedTime   = 10 * time.Second // to wait for a member's server, which needs no guest
	helloTime    = 5 * time.Second
	maxMembers   = 1024 // of one client
)

// server is the arbiter.
type server struct {
	table    *lock.Table        // immutable
	instance uint64             // immutable: which arbiter this is
	log      *slog.Logger       // immutable
	record   func(record) error // immutable: keeps who is here for the next arbiter
	grace    chan struct{}      // immutable; closed when all may ask

	mu       sync.Mutex // guards what follows, and members' fields that say so
	clients  map[uint64]*conn
	members  map[*member]struct{}
	joins    []*joining
	expected map[uint64][]uint64 // of the record of the arbiter before: those that may still claim
	idle     *time.Timer
	graceEnd *time.Timer
	reqs     uint64
}

// record is what an arbiter leaves for the next: the clients that may claim what they
// held, each with the arbiters that it may have been with last.
type record struct {
	Clients map[uint64][]uint64 `json:"clients"`
}

// member is a share of a client.
type member struct {
	conn    *conn          // immutable
	id      uint32         // immutable
	chain   []share.FileID // immutable: the share's root, its folder, and so on up
	session *lock.Session  // immutable

	// Guarded by server.mu.
	gone      bool
	shared    bool
	sharedReq uint64 // of the kindShared that is not confirmed; 0 for none
	changes   outbox
}

// joining waits until those that were alone have confirmed that they are not any more.
type joining struct {
	member *member
	req    uint64
	timer  *time.Timer
}

func newServer(before record, keep func(record) error, log *slog.Logger) *server {
	s := &server{
		table: lock.New(lock.Limits{}), instance: rand.Uint64() | 1, log: log, record: keep,
		grace: make(chan struct{}), clients: map[uint64]*conn{}, members: map[*member]struct{}{},
		expected: before.Clients,
	}
	if s.expected == nil {
		s.expected = map[uint64][]uint64{}
	}
	return s
}

// serve answers clients of l until ctx ends or there has been no member for a while.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	s.mu.Lock()
	s.idle = time.AfterFunc(lingerTime, cancel)
	s.graceEnd = time.AfterFunc(graceTime, s.endGrace)
	if len(s.expected) == 0 {
		s.openLocked()
	} else {
		s.idle.Reset(graceTime + lingerTime)
	}
	s.mu.Unlock()

	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	for {
		nc, err := l.Accept()
		if err != nil {
			s.idle.Stop()
			s.graceEnd.Stop()
			s.endGrace()
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		conns.Go(func() { s.talk(ctx, nc) })
	}
}

// endGrace lets all ask, when those that still may claim have had their time.
func (s *server) endGrace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openLocked()
}

func (s *server) openLocked() {
	select {
	case <-s.grace:
		return
	default:
	}
	s.graceEnd.Stop()
	if len(s.expected) > 0 {
		clear(s.expected)
		s.tryRecord()
	}
	for _, c := range s.clients {
		c.claims = false
	}
	for m := range s.members {
		s.tellShared(m)
	}
	close(s.grace)
	if len(s.members) == 0 {
		s.idle.Reset(lingerTime)
	}
}

// hello takes a client in. late means that it may have missed something.
func (s *server) hello(c *conn, m *message) (late bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.client = m.client
	c.claims = slices.Contains(s.expected[m.client], m.instance)
	late = m.instance != 0 && !c.claims
	if old := s.clients[m.client]; old != nil {
		old.close()
	}
	s.clients[m.client] = c
	if len(s.members) == 0 {
		s.idle.Reset(lingerTime + graceTime)
	}
	return late, s.keepRecord()
}

func (s *server) keepRecord() error {
	r := record{Clients: maps.Clone(s.expected)}
	for id := range s.clients {
		r.Clients[id] = append(slices.Clip(r.Clients[id]), s.instance)
	}
	return s.record(r)
}

// tryRecord is keepRecord where an entry too many is left at worst.
func (s *server) tryRecord() {
	if err := s.keepRecord(); err != nil {
		s.log.Warn("record of clients was not kept", logkey.Error, err)
	}
}

// goodbye forgets a client and all that it had. At the end of the arbiter nobody has
// gone: clients are to claim what they have of the next.
func (s *server) goodbye(ctx context.Context, c *conn) {
	if ctx.Err() != nil {
		return
	}
	for _, m := range c.members {
		s.leave(m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[c.client] != c {
		return
	}
	delete(s.clients, c.client)
	s.tryRecord() // an entry too many costs the next arbiter's clients a moment
}

// claimed notes that a client has made all its claims.
func (s *server) claimed(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.claims = false
	delete(s.expected, c.client)
	if len(s.expected) == 0 {
		s.openLocked()
	}
}

// overlap says whether two shares have files in common: one's root is the other's, or
// is in it.
func overlap(a, b *member) bool {
	return slices.Contains(b.chain, a.chain[0]) || slices.Contains(a.chain, b.chain[0])
}

// others calls f with the members that have files in common with m.
func (s *server) others(m *member, f func(*member)) {
	for o := range s.members {
		if o != m && overlap(o, m) {
			f(o)
		}
	}
}

// join takes a share in. It is answered when all who have to know of it do.
func (s *server) join(m *member, req uint64, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[m] = struct{}{}
	s.idle.Stop()
	if again {
		m.shared = true // as the client takes it to be until the grace period's end
		return
	}
	s.others(m, func(o *member) {
		m.shared = true
		s.tellShared(o)
	})
	j := &joining{member: m, req: req}
	j.timer = time.AfterFunc(sharedTime, func() { s.endSilent(m) })
	s.joins = append(s.joins, j)
	s.answerJoins()
}

// tellShared tells a member what is new about others having its files.
func (s *server) tellShared(m *member) {
	shared := false
	s.others(m, func(*member) { shared = true })
	if shared == m.shared {
		return
	}
	m.shared = shared
	s.reqs++
	if m.sharedReq = 0; shared {
		m.sharedReq = s.reqs
	}
	m.conn.out.push(&message{kind: kindShared, req: s.reqs, member: m.id, flag: shared})
}

func (s *server) answerJoins() {
	s.joins = slices.DeleteFunc(s.joins, func(j *joining) bool {
		waits := false
		s.others(j.member, func(o *member) { waits = waits || o.sharedReq != 0 })
		if waits && !j.member.gone {
			return false
		}
		j.timer.Stop()
		if !j.member.gone {
			j.member.conn.out.push(&message{kind: kindReply, req: j.req, flag: j.member.shared})
		}
		return true
	})
}

// endSilent ends the clients that have not confirmed in time what the join of m needs.
func (s *server) endSilent(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others(m, func(o *member) {
		if o.sharedReq != 0 {
			s.log.Warn("client is silent: its connection ends")
			o.conn.close()
		}
	})
}

// leave forgets a share.
func (s *server) leave(m *member) {
	m.session.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	m.gone = true
	delete(s.members, m)
	m.changes.end(m)
	s.others(m, s.tellShared)
	s.answerJoins()
	if len(s.members) == 0 {
		s.idle.Reset(lingerTime)
	}
}
