package hcsemu

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/porthole-run/porthole/internal/hcs"
)

// session is a process that has loaded a DLL: one for each of them.
type session struct {
	id    string
	pid   string         // of the process, in Wine
	calls sync.WaitGroup // its calls that run

	queue chan frame // what the process is to be told; its reader ends with done
	done  chan struct{}

	mu         sync.Mutex // guards the fields below
	over       bool
	handles    map[hcs.SystemHandle]string // with the system's id
	operations map[hcs.Operation]bool
}

// begin notes a call of the process, which calls.Done ends; false when the process has ended.
func (p *session) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.calls.Add(1)
	return true
}

// send tells the process something. It does not block, as hcsfake's events must not: a process
// that does not listen loses what is over the queue's size.
func (p *session) send(f frame) {
	select {
	case p.queue <- f:
	default:
	}
}

// serveSession owns a process's session: it ends with the process.
func (s *Service) serveSession(c net.Conn, pid string) {
	p := &session{
		id: fmt.Sprint(s.number()), pid: pid,
		queue: make(chan frame, 256), done: make(chan struct{}),
		handles: map[hcs.SystemHandle]string{}, operations: map[hcs.Operation]bool{},
	}
	s.mu.Lock()
	s.sessions[p.id] = p
	s.mu.Unlock()
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case f := <-p.queue:
				if writeFrame(c, f) != nil {
					return
				}
			case <-p.done:
				return
			}
		}
	})
	p.queue <- frame{0, []string{p.id}}
	_, _ = io.Copy(io.Discard, c) // nothing comes: it is for its end

	s.mu.Lock()
	delete(s.sessions, p.id)
	maps.DeleteFunc(s.contexts, func(_ uintptr, cb callback) bool { return cb.session == p })
	maps.DeleteFunc(s.makers, func(_ string, maker *session) bool { return maker == p })
	s.mu.Unlock()
	close(p.done)
	writer.Wait()
	p.mu.Lock()
	p.over = true
	handles, operations := slices.Collect(maps.Keys(p.handles)), slices.Collect(maps.Keys(p.operations))
	p.mu.Unlock()
	s.hcs.Abandon(handles, operations)
	p.calls.Wait()
}
