package arbiter

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/share/posix"
)

// conn is a client's connection. Its requests are taken in order, by one goroutine.
type conn struct {
	net    net.Conn // immutable
	out    *queue   // immutable
	client uint64   // immutable after hello
	claims bool     // guarded by server.mu

	// Of the goroutine that takes requests.
	members map[uint32]*member
	mu      sync.Mutex        // guards waits: their ends come from anywhere
	waits   map[uint64]func() // cancels of locks that wait
}

func (c *conn) close() {
	c.out.close()
	c.net.Close()
}

// talk serves one client until its connection ends.
func (s *server) talk(ctx context.Context, nc net.Conn) {
	c := &conn{net: nc, out: newQueue(), members: map[uint32]*member{}, waits: map[uint64]func(){}}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	var writer sync.WaitGroup
	writer.Go(func() {
		c.out.drain(nc)
		c.close()
	})
	defer writer.Wait()
	defer c.close()

	r := bufio.NewReader(nc)
	nc.SetReadDeadline(time.Now().Add(helloTime))
	m, err := receive(r)
	if err != nil || m.kind != kindHello || m.version != version {
		return
	}
	nc.SetReadDeadline(time.Time{})
	late, err := s.hello(c, m)
	defer s.goodbye(ctx, c)
	if err != nil {
		s.log.Warn("client was refused", logkey.Error, err)
		return
	}
	c.out.push(&message{kind: kindWelcome, version: version, instance: s.instance, flag: late})
	for {
		c.out.waitForRoom()
		m, err := receive(r)
		if err == nil {
			err = s.take(ctx, c, m)
		}
		if err != nil {
			s.log.Debug("client has gone", logkey.Error, err)
			return
		}
	}
}

// take does what one message asks for.
func (s *server) take(ctx context.Context, c *conn, m *message) error {
	again := m.kind == kindJoin && m.flag
	switch {
	case m.kind == kindClaimed:
		s.claimed(c)
		return nil
	case m.kind == kindPing:
		s.goesOn()
		c.out.push(&message{kind: kindReply})
		return nil
	case again || m.kind == kindClaim:
		s.mu.Lock()
		claims := c.claims
		s.mu.Unlock()
		if !claims {
			return fmt.Errorf("claim after its time")
		}
	default:
		select {
		case <-s.grace:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch m.kind {
	case kindJoin:
		return s.takeJoin(c, m)
	case kindCancel:
		c.mu.Lock()
		cancel := c.waits[m.req]
		c.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return nil
	}
	member := c.members[m.member]
	if member == nil {
		switch m.kind {
		case kindConfirm: // of what was sent before it left
			return nil
		case kindLeave: // of one that was lost before it came
			c.out.push(&message{kind: kindReply, req: m.req})
			return nil
		}
		return fmt.Errorf("no member %d", m.member)
	}
	reply := func(err error) {
		c.out.push(&message{kind: kindReply, req: m.req, errno: uint32(posix.FromError(err))})
	}
	switch m.kind {
	case kindLeave:
		delete(c.members, m.member)
		s.leave(member)
		reply(nil)
	case kindSet:
		s.takeSet(c, member, m, reply)
	case kindClaim:
		member.session.Ask(m.file, m.lock, false, func(err error) {
			if err != nil {
				c.out.push(&message{kind: kindRefused, member: m.member})
			}
		})
	case kindGet:
		l, found, err := member.session.GetLock(ctx, m.file, m.lock)
		c.out.push(&message{kind: kindReply, req: m.req, errno: uint32(posix.FromError(err)), flag: found, lock: l})
	case kindDrop:
		member.session.DropThen(m.file, m.lock.Owner, m.lock.Kind, func() { reply(nil) })
	case kindAnnounce:
		s.announce(member, m.req, m.changes)
	case kindConfirm:
		s.confirm(member, m.req)
	default:
		return fmt.Errorf("message of kind %d from a client", m.kind)
	}
	return nil
}

// goesOn returns when the server does what it is asked.
func (s *server) goesOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

func (s *server) takeJoin(c *conn, m *message) error {
	if len(m.chain) == 0 || c.members[m.member] != nil || len(c.members) >= maxMembers {
		return fmt.Errorf("join of member %d among %d", m.member, len(c.members))
	}
	member := &member{conn: c, id: m.member, chain: m.chain, session: s.table.Session(fmt.Sprintf("member %d", m.member))}
	c.members[m.member] = member
	s.join(member, m.req, m.flag)
	return nil
}

// takeSet asks the table. The answer is queued at the moment of the change, so that the
// client hears of changes in their order.
func (s *server) takeSet(c *conn, member *member, m *message, reply func(error)) {
	ended := make(chan struct{})
	cancel := member.session.Ask(m.file, m.lock, m.flag, func(err error) {
		reply(err)
		c.mu.Lock()
		delete(c.waits, m.req)
		c.mu.Unlock()
		close(ended)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-ended:
	default:
		c.waits[m.req] = cancel
	}
}
