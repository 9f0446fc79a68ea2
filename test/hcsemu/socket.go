package hcsemu

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Codes of Winsock that a connect ends with.
const (
	wsaAccess      = 10013 // the socket table does not let the host in
	wsaUnreachable = 10051 // there is no such VM, or it does not run
	wsaTimedOut    = 10060 // the guest does not listen
	wsaRefused     = 10061
)

// vsockSuffix is what the services that are ports of AF_VSOCK end in.
const vsockSuffix = "-facb-11e6-bd58-64006a7986d3"

// serveSocket carries a connection of AF_HYPERV to the guest: VM, service, and the time limit
// in ms.
func (s *Service) serveSocket(ctx context.Context, c net.Conn, args []string) {
	guest, code := s.dialGuest(ctx, args)
	if guest == nil {
		_ = writeFrame(c, frame{code: code})
		return
	}
	defer guest.Close()
	if writeFrame(c, frame{}) != nil {
		return
	}
	host, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	join(host, guest)
}

// stream is a connection of which each direction ends by itself.
type stream interface {
	net.Conn
	CloseWrite() error
}

// join copies both ways until both have ended. An error in one, such as of writing to an end
// that has said all it has to, leaves the other to go on: what was said still arrives.
func join(a, b stream) {
	var wg sync.WaitGroup
	half := func(to, from stream) {
		_, _ = io.Copy(to, from)
		_ = to.CloseWrite()
	}
	wg.Go(func() { half(a, b) })
	half(b, a)
	wg.Wait()
}

// dialGuest opens a stream to the guest, or says why not.
func (s *Service) dialGuest(ctx context.Context, args []string) (stream, uint32) {
	if len(args) != 3 {
		return nil, wsaRefused
	}
	v, err := s.machines.get(strings.ToLower(args[0]))
	if err != nil {
		return nil, wsaUnreachable
	}
	number, ok := strings.CutSuffix(args[1], vsockSuffix)
	port, err := strconv.ParseUint(number, 16, 32)
	if !ok || err != nil || !v.vm.Connectable(args[1]) {
		return nil, wsaAccess
	}
	ms, err := strconv.Atoi(args[2])
	if err != nil || ms <= 0 {
		ms = 2000
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
	defer cancel()
	select {
	case <-v.ready:
	case <-v.done:
		return nil, wsaUnreachable
	case <-ctx.Done():
		return nil, wsaTimedOut
	}
	conn, err := v.link.Dial(ctx, uint32(port))
	if err != nil {
		return nil, wsaRefused
	}
	return conn.(stream), 0
}
