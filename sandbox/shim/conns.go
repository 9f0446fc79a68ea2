package shim

import (
	"net"
	"sync"
)

// connSet knows the open connections of the control socket, so that Close can end them:
// ttrpc itself leaves those alone that serve a call.
type connSet struct {
	mu     sync.Mutex // guards the rest
	conns  map[net.Conn]struct{}
	closed bool
}

func newConnSet() *connSet { return &connSet{conns: map[net.Conn]struct{}{}} }

func (s *connSet) closeAll() {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		c.(*knownConn).Conn.Close()
	}
}

// listener returns l with its connections known to s.
func (s *connSet) listener(l net.Listener) net.Listener { return knownListener{l, s} }

type knownListener struct {
	net.Listener
	set *connSet
}

func (l knownListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	k := &knownConn{c, l.set}
	l.set.mu.Lock()
	defer l.set.mu.Unlock()
	if l.set.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	l.set.conns[k] = struct{}{}
	return k, nil
}

type knownConn struct {
	net.Conn
	set *connSet
}

func (c *knownConn) Close() error {
	c.set.mu.Lock()
	delete(c.set.conns, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}
