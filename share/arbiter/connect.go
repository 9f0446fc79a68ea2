package arbiter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/share/posix"
)

// run keeps a connection while there is a use for one.
func (c *Client) run(ctx context.Context) {
	defer c.endAll(posix.ENOTCONN)
	for {
		c.mu.Lock()
		idle := len(c.members) == 0 && len(c.calls) == 0
		c.mu.Unlock()
		if idle {
			select {
			case <-ctx.Done():
				return
			case <-c.wanted:
				continue
			}
		}
		nc, welcome, err := c.find(ctx)
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return
		}
		if err != nil {
			c.endAll(err)
			continue
		}
		err = c.talk(ctx, nc, welcome)
		c.cfg.Log.Debug("arbiter has gone", logkey.Error, err)
	}
}

// endAll gives up on all members and calls.
func (c *Client) endAll(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		c.lose(m, err)
	}
	for _, call := range c.calls {
		c.end(call, result{err: fmt.Errorf("%w: %w", posix.EIO, err)})
	}
}

// arbiterConn is a connection and what was read of it in advance.
type arbiterConn struct {
	net.Conn
	r *bufio.Reader
}

// find connects to an arbiter that has said hello, and starts one if need be.
func (c *Client) find(ctx context.Context) (*arbiterConn, *message, error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	var errs error
	var started time.Time
	for pause := findPause; ; pause = min(2*pause, maxPause) {
		nc, welcome, err := c.dial(ctx)
		if err == nil {
			return nc, welcome, nil
		}
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("find arbiter: %w", errors.Join(errs, err))
		}
		if time.Since(started) > startPause { // one that is starting, or ending, needs a moment
			started = time.Now()
			if errs = c.cfg.Start(ctx); errs != nil {
				c.cfg.Log.Warn("arbiter was not started", logkey.Error, errs)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (c *Client) dial(ctx context.Context) (*arbiterConn, *message, error) {
	nc, err := localsock.Dial(ctx, files(c.cfg.Dir).socket())
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	c.mu.Lock()
	hello := &message{kind: kindHello, version: version, client: c.id, instance: c.instance}
	c.mu.Unlock()
	b, err := encode(nil, hello)
	if err == nil {
		_, err = nc.Write(b)
	}
	r := bufio.NewReader(nc)
	var welcome *message
	if err == nil {
		welcome, err = receive(r)
	}
	if err == nil && (welcome.kind != kindWelcome || welcome.version != version) {
		err = fmt.Errorf("arbiter of version %d", welcome.version)
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return &arbiterConn{nc, r}, welcome, nil
}

// talk uses a connection until it ends, or nothing needs it.
func (c *Client) talk(ctx context.Context, nc *arbiterConn, welcome *message) error {
	out := newQueue()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	var writer sync.WaitGroup
	writer.Go(func() {
		out.drain(nc)
		nc.Close()
	})
	defer writer.Wait()
	defer out.close()

	c.begin(nc.Conn, out, welcome)
	defer c.disconnected()
	for {
		m, err := receive(nc.r)
		if err == nil {
			err = c.received(m)
		}
		if err != nil {
			nc.Close()
			return err
		}
	}
}

// begin claims what members hold, and asks again what was not answered.
func (c *Client) begin(nc net.Conn, out *queue, welcome *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	late, first := welcome.flag, c.instance == 0
	c.instance = welcome.instance
	c.out, c.conn = out, nc
	// The arbiter before may have done what it did not answer. Locks that it may have
	// given to others are not claimed.
	for _, req := range slices.Sorted(maps.Keys(c.calls)) {
		c.calls[req].member.giveUp(c.calls[req].ask)
	}
	for _, m := range c.members {
		if !m.joined {
			continue // its join is among the calls
		}
		if late {
			c.joinAgain(m)
			continue
		}
		out.push(&message{kind: kindJoin, member: m.id, flag: true, chain: m.cfg.Chain})
		for _, h := range m.mirror.Held() {
			out.push(&message{kind: kindClaim, member: m.id, file: h.File, lock: h.Lock})
		}
	}
	if !late && !first {
		out.push(&message{kind: kindClaimed})
	}
	for _, joins := range []bool{true, false} { // joins that are asked again are the youngest calls
		for _, req := range slices.Sorted(maps.Keys(c.calls)) {
			if ask := c.calls[req].ask; (ask.kind == kindJoin) == joins {
				out.push(ask)
			}
		}
	}
	if len(c.calls) > 0 {
		c.watch()
	}
}

// joinAgain takes a member that has missed changes to an arbiter. c.mu is held.
func (c *Client) joinAgain(m *Member) {
	if m.held {
		c.lose(m, errors.New("came back to the arbiter too late"))
		return
	}
	m.joined = false
	m.inbox = append(m.inbox, batch{changes: anything})
	m.poke()
	c.reqs++
	call := &call{ask: &message{kind: kindJoin, req: c.reqs, member: m.id, chain: m.cfg.Chain}, member: m, done: make(chan result, 1)}
	c.calls[c.reqs] = call // begin sends it
}

// disconnected keeps members from taking it that they are alone, and ends the calls that
// nobody wants answered by another arbiter.
func (c *Client) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, c.conn = nil, nil
	c.unwatch()
	for _, call := range c.calls { // what the arbiter may have done
		call.member.giveUp(call.ask)
	}
	for _, m := range c.members {
		m.shared.Store(true)
		m.held = len(m.mirror.Held()) > 0
	}
	for _, call := range c.calls {
		switch {
		case call.cancelled:
			c.end(call, result{err: posix.EINTR})
		case call.ask.kind == kindLeave:
			c.end(call, result{})
		}
	}
}
