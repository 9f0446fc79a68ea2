package hcsemu

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/hcs"
)

// serial is a VM's COM1: what the guest writes goes to the pipe that the VM's maker serves,
// by a stream that its DLL opens. It is kept until that is there.
type serial struct {
	attached chan struct{} // closed when conn is set
	ended    chan struct{}

	mu      sync.Mutex // guards the fields below
	conn    net.Conn
	backlog []byte
}

// backlogBytes bounds what is kept for a reader that has not come.
const backlogBytes = 256 << 10

func newSerial() *serial {
	return &serial{attached: make(chan struct{}), ended: make(chan struct{})}
}

// Write implements io.Writer; a reader that does not read holds nothing up for long.
func (s *serial) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		s.backlog = append(s.backlog, b...)
		s.backlog = s.backlog[max(0, len(s.backlog)-backlogBytes):]
		return len(b), nil
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = s.conn.Write(b)
	return len(b), nil
}

// carry gives the stream what there was, and what comes, until the VM has ended.
func (s *serial) carry(c net.Conn) {
	s.mu.Lock()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(s.backlog)
	s.conn, s.backlog = c, nil
	close(s.attached)
	s.mu.Unlock()
	<-s.ended
}

// end ends the stream once all has gone there, which it may come for a moment later.
func (s *serial) end() {
	select {
	case <-s.attached:
	case <-time.After(2 * time.Second):
	}
	close(s.ended)
}

// offer has the maker of a VM open the pipe of its COM1.
func (s *Service) offer(vmID, pipe string, out *serial) {
	s.mu.Lock()
	p := s.makers[vmID]
	s.last++
	stream := fmt.Sprint(s.last)
	if p != nil && pipe != "" {
		s.streams[stream] = out.carry
	}
	s.mu.Unlock()
	if p == nil || pipe == "" {
		close(out.attached)
		return
	}
	p.send(frame{0, []string{"serial", pipe, stream}})
}

// serveStream serves the connection of a stream that was offered.
func (s *Service) serveStream(c net.Conn, args []string) {
	if len(args) != 1 {
		return
	}
	s.mu.Lock()
	carry := s.streams[args[0]]
	delete(s.streams, args[0])
	s.mu.Unlock()
	if carry == nil || writeFrame(c, frame{code: uint32(hcs.OK)}) != nil {
		return
	}
	carry(c)
}
