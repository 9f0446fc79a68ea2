package arbiter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Config says how a Client finds its arbiter.
type Config struct {
	// Dir is the folder of the arbiter's files, the same for all that are to meet.
	Dir string
	// Start starts an arbiter for Dir, see Exec. It returns without waiting for it. The
	// arbiter outlives the caller, and ends by itself when there is one already.
	Start func(ctx context.Context) error
	// Log may be nil.
	Log *slog.Logger
}

// Client is one share server's side of the arbiter.
type Client struct {
	cfg     Config               // immutable
	id      uint64               // immutable
	stop    context.CancelFunc   // immutable
	work    sync.WaitGroup       // run, and each member's goroutine
	wanted  chan struct{}        // has one when there is something to do for run
	silent  time.Duration        // immutable once there is a member; silentTime, but in tests
	endPeer func(net.Conn) error // likewise

	mu       sync.Mutex // guards what follows, and members' fields that say so
	closed   bool
	out      *queue      // nil while there is no connection
	conn     net.Conn    // as out
	turn     *time.Timer // of ping; nil: none
	turns    uint64      // the last one's number, or higher
	heard    bool        // from the arbiter, since the last ping
	missed   int         // turns without a word
	instance uint64      // the arbiter that we were last with
	reqs     uint64
	calls    map[uint64]*call
	members  map[uint32]*Member // all that are neither lost nor closed
	last     uint32             // number of the youngest member
}

// call is a request that is not answered.
type call struct {
	ask       *message
	member    *Member
	cancelled bool
	done      chan result // has room for one
}

type result struct {
	err   error
	reply message
}

// New makes a client. It looks for an arbiter when there is a member. Close must be
// called.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg, id: rand.Uint64(), stop: stop, wanted: make(chan struct{}, 1),
		calls: map[uint64]*call{}, members: map[uint32]*Member{}, silent: silentTime, endPeer: endPeer,
	}
	c.work.Go(func() { c.run(ctx) })
	return c
}

// Close closes all members and waits for what the client has under way.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	var all []*Member
	for _, m := range c.members {
		all = append(all, m)
	}
	c.mu.Unlock()
	for _, m := range all {
		m.Close()
	}
	c.stop()
	c.work.Wait()
	return nil
}

// JoinConfig is one share.
type JoinConfig struct {
	// Chain has the share's root, the folder that it is in, and so on up to the root of
	// the host's files, see Chain. At most 1024.
	Chain []share.FileID
	// Changed is told what other guests have changed; Session.Invalidate. The zero
	// Change means that anything may have changed. It is called by one goroutine. Its ctx
	// ends with the member.
	Changed func(ctx context.Context, changes []share.Change) error
	// Lost is called once when the member has lost its locks: the guest must not go on.
	// Calls of the member fail with EIO from then on. It is to end the share's stream.
	Lost func(err error)
}

// Join makes a member. When it returns all others that have the same files announce
// what they change.
func (c *Client) Join(ctx context.Context, cfg JoinConfig) (*Member, error) {
	if len(cfg.Chain) == 0 || len(cfg.Chain) > maxChain {
		return nil, fmt.Errorf("join with %d folders: %w", len(cfg.Chain), posix.EINVAL)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("join: %w", posix.ENOTCONN)
	}
	c.last++
	m := newMember(c, c.last, cfg)
	c.members[m.id] = m
	call := c.ask(m, &message{kind: kindJoin, chain: cfg.Chain})
	c.mu.Unlock()
	if r := c.wait(ctx, call); r.err != nil {
		m.Close()
		return nil, fmt.Errorf("join: %w", r.err)
	}
	return m, nil
}

// ask sends a request, now or with the next connection. c.mu is held.
func (c *Client) ask(m *Member, ask *message) *call {
	c.reqs++
	ask.req, ask.member = c.reqs, m.id
	call := &call{ask: ask, member: m, done: make(chan result, 1)}
	c.calls[ask.req] = call
	if c.out != nil {
		c.out.push(ask)
		c.watch()
	} else {
		c.want()
	}
	return call
}

func (c *Client) want() {
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

// end answers a call. c.mu is held.
func (c *Client) end(call *call, r result) {
	if c.calls[call.ask.req] == call {
		delete(c.calls, call.ask.req)
		call.done <- r
	}
}

// wait waits for a call's answer. When ctx ends a lock that waits is taken back, which
// the arbiter has to answer, as the lock may have come first; all else is let go.
func (c *Client) wait(ctx context.Context, call *call) result {
	select {
	case r := <-call.done:
		return r
	case <-ctx.Done():
	}
	c.mu.Lock()
	call.cancelled = true
	switch {
	case c.out == nil || call.ask.kind != kindSet:
		c.end(call, result{err: posix.EINTR})
	default:
		c.out.push(&message{kind: kindCancel, req: call.ask.req})
	}
	c.mu.Unlock()
	return <-call.done
}

// lose ends a member that cannot go on. c.mu is held.
func (c *Client) lose(m *Member, err error) {
	if c.members[m.id] != m {
		return
	}
	c.cfg.Log.Error("share has lost its locks", logkey.Error, err)
	m.err = fmt.Errorf("locks are lost: %w: %w", posix.EIO, err)
	c.forget(m, m.err)
	if c.out != nil {
		c.reqs++
		c.out.push(&message{kind: kindLeave, req: c.reqs, member: m.id})
	}
	m.poke()
}

// forget takes a member out. c.mu is held.
func (c *Client) forget(m *Member, err error) {
	delete(c.members, m.id)
	m.shared.Store(false)
	m.mirror.Close()
	for _, call := range c.calls {
		if call.member == m {
			c.end(call, result{err: err})
		}
	}
}

// received does what a message of the arbiter says.
func (c *Client) received(m *message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = true
	member := c.members[m.member]
	switch m.kind {
	case kindReply:
		call := c.calls[m.req]
		if call == nil {
			return nil // nobody waits
		}
		c.replied(call, m)
	case kindRefused:
		if member != nil {
			c.lose(member, errors.New("another has taken a lock while the arbiter was away"))
		}
	case kindShared:
		if member != nil {
			member.shared.Store(m.flag)
			c.out.push(&message{kind: kindConfirm, req: m.req, member: m.member})
		}
	case kindChanges:
		if member != nil {
			member.inbox = append(member.inbox, batch{m.req, c.out, m.changes})
			member.poke()
		}
	default:
		return fmt.Errorf("message of kind %d from the arbiter", m.kind)
	}
	return nil
}

// replied keeps what a member holds as the arbiter has it: answers come in the order of
// its changes.
func (c *Client) replied(call *call, m *message) {
	var err error
	if m.errno != 0 {
		err = posix.Errno(m.errno)
	}
	switch call.ask.kind {
	case kindJoin:
		call.member.joined = err == nil
		call.member.shared.Store(m.flag)
	case kindSet, kindDrop:
		if merr := call.member.keep(call.ask, err); merr != nil {
			c.lose(call.member, merr)
		}
	}
	c.end(call, result{err, *m})
}

const (
	findTime   = 15 * time.Second // to find or start an arbiter
	startPause = 200 * time.Millisecond
	findPause  = 5 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)
