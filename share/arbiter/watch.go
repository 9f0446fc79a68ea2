package arbiter

import (
	"errors"
	"time"

	"github.com/porthole-run/porthole/internal/logkey"
)

// An arbiter that runs answers at once, but for locks that wait. One that is stopped, or
// stuck, would hold up all that ask it, for ever: it keeps its socket and its file lock. So
// while anything is asked it is pinged. When it has not said a word for two turns, one of
// them short for a client that was stopped itself, it is ended: its successor is claimed
// the locks of, as after any death.
const (
	silentTime = 5 * time.Second // a turn
	lastTime   = silentTime / 5  // the last one
)

// errSilent is why members are lost whose arbiter neither answers nor can be ended.
var errSilent = errors.New("the arbiter does not answer")

// watch begins to ping when something is asked. c.mu is held.
func (c *Client) watch() {
	if c.turn == nil {
		c.heard, c.missed = true, 0
		c.next(c.silent)
	}
}

// next arranges for the next turn. c.mu is held.
func (c *Client) next(after time.Duration) {
	c.turns++
	turn := c.turns
	c.turn = time.AfterFunc(after, func() { c.ping(turn) })
}

// unwatch ends the pings. c.mu is held.
func (c *Client) unwatch() {
	c.turns++ // one may have begun
	if c.turn != nil {
		c.turn.Stop()
		c.turn = nil
	}
}

// ping is one turn. There are no more when nothing is asked.
func (c *Client) ping(turn uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if turn != c.turns {
		return
	}
	c.turn = nil
	if len(c.calls) == 0 {
		return
	}
	after := c.silent
	switch {
	case c.heard:
		c.missed = 0
	case c.missed == 0:
		c.missed++
		after = c.silent / (silentTime / lastTime)
	default:
		c.endSilent()
		return
	}
	c.heard = false
	c.out.push(&message{kind: kindPing})
	c.next(after)
}

// endSilent ends the arbiter, or, when that cannot be, all that rely on it. c.mu is held.
func (c *Client) endSilent() {
	c.cfg.Log.Error("the arbiter does not answer: it is ended")
	if err := c.endPeer(c.conn); err != nil {
		c.cfg.Log.Error("the arbiter was not ended", logkey.Error, err)
		for _, m := range c.members {
			c.lose(m, errSilent)
		}
	}
	c.conn.Close() // run finds another
}
