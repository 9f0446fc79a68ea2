// Package hvsock dials the sockets of Hyper-V's VMs (AF_HYPERV) from the host: a VM's GUID
// and a port of AF_VSOCK in it.
//
// It is not for listening: the guest never dials. It knows nothing of how VMs are made, nor
// when a guest listens: who dials tries again. All functions are safe for concurrent use.
package hvsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// ErrRefused is that nobody listens at the port, or not yet: a VM that boots looks so.
var ErrRefused = errors.New("the guest does not listen")

// Conn is a stream of which each direction ends by itself.
type Conn interface {
	net.Conn
	// CloseWrite ends the direction to the guest.
	CloseWrite() error
}

// ServiceID is the GUID by which Hyper-V knows a port of AF_VSOCK (the VSOCK template of
// hvsocket.h).
func ServiceID(port uint32) string { return fmt.Sprintf("%08x-facb-11e6-bd58-64006a7986d3", port) }

// maxConnect bounds the connecting to a guest that neither accepts nor refuses.
const maxConnect = time.Second

// Dial connects to a port of the VM with this GUID. ErrRefused when nobody listens there, or does
// not answer within a second. Dial may return up to that second after ctx has ended.
func Dial(ctx context.Context, vmID string, port uint32) (Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dial %s port %d: %w", vmID, port, err)
	}
	c, err := dial(vmID, port, connectLimit(ctx))
	if err == nil && ctx.Err() != nil {
		_ = c.Close()
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s port %d: %w", vmID, port, err)
	}
	return c, nil
}

// connectLimit is how long one connect may take; it is given to Windows in whole milliseconds, of which 0 would be
// Windows' own limit.
func connectLimit(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return maxConnect
	}
	return max(min(maxConnect, time.Until(deadline)), time.Millisecond)
}

// addr is one end of a connection.
type addr struct {
	vmID string // empty: this host
	port uint32
}

func (a addr) Network() string { return "hvsock" }

func (a addr) String() string {
	if a.vmID == "" {
		return "host"
	}
	return fmt.Sprintf("%s:%d", a.vmID, a.port)
}
