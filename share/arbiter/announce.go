package arbiter

import (
	"time"

	"github.com/porthole-run/porthole/share"
)

// announcement waits until members' guests have forgotten what is no more.
type announcement struct {
	waits map[*member]struct{} // guarded by server.mu, as all here
	timer *time.Timer
	done  func()
}

func (a *announcement) confirmed(m *member) {
	delete(a.waits, m)
	if len(a.waits) == 0 && a.done != nil {
		if a.timer != nil {
			a.timer.Stop()
		}
		a.done()
		a.done = nil
	}
}

// outbox has what a member is to be told. One message is under way at a time; what comes
// meanwhile is put together to the next, and past a bound to "anything may have changed".
type outbox struct {
	sent   uint64          // the message under way; 0 for none
	asking []*announcement // that wait for it
	next   []share.Change
	queued []*announcement // that wait for next
	lags   bool            // nobody waits until it has caught up
}

// anything is the change that says so.
var anything = []share.Change{{}}

func (s *server) announce(from *member, req uint64, changes []share.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &announcement{waits: map[*member]struct{}{}}
	a.done = func() { from.conn.out.push(&message{kind: kindReply, req: req}) }
	s.others(from, func(m *member) {
		b := &m.changes
		if !b.lags {
			a.waits[m] = struct{}{}
			b.queued = append(b.queued, a)
		}
		if b.next = append(b.next, changes...); len(b.next) > maxChanges {
			b.next = anything
		}
		s.send(m)
	})
	if len(a.waits) == 0 {
		a.confirmed(nil)
		return
	}
	a.timer = time.AfterFunc(announceTime, func() { s.giveUp(a) })
}

// giveUp answers an announcement though some have not confirmed it.
func (s *server) giveUp(a *announcement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range a.waits {
		m.changes.lags = true
		// Nor do the other announcements wait for it.
		for _, o := range m.changes.take() {
			o.confirmed(m)
		}
	}
}

// take returns the announcements that wait, which then do not any more.
func (b *outbox) take() []*announcement {
	all := append(b.asking, b.queued...)
	b.asking, b.queued = nil, nil
	return all
}

func (b *outbox) end(m *member) {
	for _, a := range b.take() {
		a.confirmed(m)
	}
}

// send sends what is next unless a message is under way.
func (s *server) send(m *member) {
	b := &m.changes
	if b.sent != 0 || len(b.next) == 0 {
		return
	}
	s.reqs++
	b.sent = s.reqs
	m.conn.out.push(&message{kind: kindChanges, req: b.sent, member: m.id, changes: b.next})
	b.asking, b.queued, b.next = b.queued, nil, nil
}

// confirm is a member's answer to kindChanges or kindShared.
func (s *server) confirm(m *member, req uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req == m.sharedReq {
		m.sharedReq = 0
		s.answerJoins()
		return
	}
	b := &m.changes
	if req == 0 || req != b.sent {
		return
	}
	b.sent = 0
	asking := b.asking
	b.asking = nil
	for _, a := range asking {
		a.confirmed(m)
	}
	if len(b.next) == 0 {
		b.lags = false
	}
	s.send(m)
}
