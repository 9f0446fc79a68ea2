package cluster

import (
	"io"
	"net"
	"sync"
)

// relayed is a unix socket whose connections are carried to a TCP port.
type relayed struct {
	l  net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]bool
}

// relay listens at a path.
func relay(path, addr string) (*relayed, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	r := &relayed{l: l, conns: map[net.Conn]bool{}}
	r.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			r.wg.Go(func() {
				defer r.forget(near)
				far, err := net.Dial("tcp", addr)
				if !r.keep(near) || err != nil {
					return
				}
				defer r.forget(far)
				if !r.keep(far) {
					return
				}
				r.wg.Go(func() {
					io.Copy(far, near)
					far.Close()
				})
				io.Copy(near, far)
			})
		}
	})
	return r, nil
}

// keep notes a connection to be closed by end, and tells whether end was not called yet.
func (r *relayed) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	return !r.ended
}

func (r *relayed) forget(c net.Conn) {
	c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// end closes everything and waits.
func (r *relayed) end() error {
	err := r.l.Close()
	r.mu.Lock()
	r.ended = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
	return err
}
