//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/agent/transport"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/phase"
)

// headerTime bounds how long a stream's header may take.
const headerTime = 10 * time.Second

// control is one control connection: the Guest service with what belongs to the
// connection. Its methods are in the files of their nouns.
type control struct {
	*Agent
	greeted atomic.Bool // Hello was answered
}

var _ api.GuestService = (*control)(nil)

// serveControl serves one control connection until it ends.
func (a *Agent) serveControl(ctx context.Context, conn transport.Conn) {
	c := &control{Agent: a}
	srv, err := ttrpc.NewServer(ttrpc.WithUnaryServerInterceptor(c.intercept))
	if err != nil {
		slog.Error("serve control connection", "error", err)
		conn.Close()
		return
	}
	api.RegisterGuestService(srv, c)
	l := &oneConn{conn: conn, done: make(chan struct{})}
	// Serve returns when the connection has ended, and calls in flight are cancelled then.
	if err := srv.Serve(ctx, l); err != nil && err != net.ErrClosed && ctx.Err() == nil {
		slog.Error("serve control connection", "error", err)
	}
	srv.Close()
}

// intercept stands before every unary call.
func (c *control) intercept(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (resp any, err error) {
	const hello = "/porthole.guest.v1.Guest/Hello"
	defer func() {
		if p := recover(); p != nil {
			slog.Error("panic in call", "method", info.FullMethod, "panic", p, "stack", string(debug.Stack()))
			resp, err = nil, status.Errorf(codes.Internal, "panic in %s: %v", info.FullMethod, p)
		}
	}()
	if info.FullMethod != hello && !c.greeted.Load() {
		return nil, errNotGreeted
	}
	ctx, _ = phase.Record(ctx)
	resp, err = method(ctx, unmarshal)
	if err != nil {
		return nil, toStatus(err)
	}
	if info.FullMethod == hello {
		c.greeted.Store(true)
	}
	return resp, nil
}

var errNotGreeted = status.Error(codes.FailedPrecondition, "Hello must be the first call on a connection")

// Events implements the service. Stream calls pass no interceptor.
func (c *control) Events(ctx context.Context, r *api.EventsRequest, s api.Guest_EventsServer) error {
	if !c.greeted.Load() {
		return errNotGreeted
	}
	return toStatus(c.events.Follow(ctx, r.AfterSeq, s.Send))
}

// toStatus gives an error its gRPC code.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Unknown
	switch errdefs.Resolve(err) {
	case errdefs.ErrInvalidArgument:
		code = codes.InvalidArgument
	case errdefs.ErrNotFound:
		code = codes.NotFound
	case errdefs.ErrAlreadyExists:
		code = codes.AlreadyExists
	case errdefs.ErrFailedPrecondition:
		code = codes.FailedPrecondition
	case errdefs.ErrResourceExhausted:
		code = codes.ResourceExhausted
	case errdefs.ErrUnavailable:
		code = codes.Unavailable
	case errdefs.ErrNotImplemented:
		code = codes.Unimplemented
	case errdefs.ErrInternal:
		code = codes.Internal
	case context.DeadlineExceeded:
		code = codes.DeadlineExceeded
	case context.Canceled:
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}

// Hello implements the service.
func (c *control) Hello(_ context.Context, r *api.HelloRequest) (*api.HelloResponse, error) {
	version, err := negotiate(r.MinVersion, r.MaxVersion)
	if err != nil {
		return nil, err
	}
	// First of all, so that whatever is made up from here on is this VM's alone.
	if n := len(r.Seed); n > 0 {
		if n < minSeed || n > maxSeed {
			return nil, invalid("seed of %d bytes, not %d to %d", n, minSeed, maxSeed)
		}
		if err := c.cfg.Seed(r.Seed); err != nil {
			return nil, err
		}
	}
	if r.UnixNanos != 0 {
		if err := c.setClock(time.Unix(0, r.UnixNanos)); err != nil {
			return nil, err
		}
	}
	var bootID string
	if r.Template {
		if err := c.prepare(); err != nil {
			return nil, fmt.Errorf("prepare template: %w", err)
		}
	} else {
		if bootID, err = c.cfg.BootID(); err != nil {
			return nil, err
		}
	}
	return &api.HelloResponse{
		Version:        version,
		AgentVersion:   c.cfg.Version,
		KernelRelease:  c.cfg.System.KernelRelease,
		BootId:         bootID,
		RuntimeVersion: c.cfg.System.RuntimeVersion,
		MemoryBytes:    c.cfg.System.MemoryBytes,
		Seeded:         len(r.Seed) > 0,
	}, nil
}

// Bounds of a seed, in bytes: what the kernel's pool holds, and more than it can use.
const (
	minSeed = 32
	maxSeed = 512
)

// negotiate picks the highest version that both sides speak.
func negotiate(hostMin, hostMax uint32) (uint32, error) {
	v := min(hostMax, api.MaxVersion)
	if hostMin > hostMax || v < api.MinVersion || v < hostMin {
		return 0, fmt.Errorf("no common version of the agent protocol: the host speaks %d to %d, the agent %d to %d: %w",
			hostMin, hostMax, api.MinVersion, api.MaxVersion, errdefs.ErrFailedPrecondition)
	}
	return v, nil
}

// SetClock implements the service.
func (c *control) SetClock(_ context.Context, r *api.SetClockRequest) (*api.SetClockResponse, error) {
	was := time.Now()
	resp := &api.SetClockResponse{UnixNanos: was.UnixNano()}
	switch {
	case r.UnixNanos != 0:
		return resp, c.setClock(time.Unix(0, r.UnixNanos))
	case r.StepNanos != 0:
		return resp, c.setClock(was.Add(time.Duration(r.StepNanos)))
	}
	return resp, nil
}

func (a *Agent) setClock(t time.Time) error {
	if t.UnixNano() <= 0 {
		return invalid("%s is not a time of this age", t.UTC().Format(time.RFC3339))
	}
	return a.cfg.SetClock(t)
}

// oneConn is a listener that gives one connection, then waits until that has ended.
type oneConn struct {
	conn  net.Conn
	given atomic.Bool
	once  sync.Once
	done  chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.given.Swap(true) {
		return endConn{Conn: l.conn, l: l}, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// endConn ends its listener with it.
type endConn struct {
	net.Conn
	l *oneConn
}

func (c endConn) Close() error {
	defer c.l.Close()
	return c.Conn.Close()
}
