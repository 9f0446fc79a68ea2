package mux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/porthole-run/porthole/cri/endpoint"
)

// Local is our runtime: a cri.Server.
type Local interface {
	// Serve answers calls on l until ctx ends, waits for those that run, and closes l.
	Serve(ctx context.Context, l net.Listener) error
}

// Config is what a Mux works with.
type Config struct {
	// Local and Upstream are needed. Upstream is the endpoint of the other runtime, as in
	// package endpoint.
	Local    Local
	Upstream string
	// Handlers are the runtime handlers that are ours; all others are upstream's.
	Handlers []string
	// DefaultUpstream gives pods without a handler, and pulls that nobody asked for by
	// name, to upstream; else they are ours.
	DefaultUpstream bool
	// AskTimeout bounds each question to a side that is asked on behalf of both; 0: 5 s.
	AskTimeout time.Duration
	// Grace is how long after the start lists are Unavailable, rather than those of one
	// side, while the other was not seen yet: both may have been started just now; 0: 30 s.
	Grace time.Duration
	// DrainTimeout bounds how long Serve waits for running calls at its end; 0: 10 s.
	DrainTimeout time.Duration
	// Logger gets a line for each call that is passed to upstream; nil: slog.Default.
	Logger *slog.Logger
}

// Mux is a CRI server over two others.
type Mux struct {
	// Immutable after New.
	sides        [2]*side // ours, upstream
	local        Local
	memory       *memoryListener
	handlers     []string
	fallback     *side
	askTimeout   time.Duration
	grace        time.Time
	drainTimeout time.Duration
	log          *slog.Logger
	rules        map[string]rule
	draining     chan struct{} // closed by drain
	drain        func()        // tells streams without an end that the server ends

	mu  sync.Mutex // guards run
	run *localRun  // nil before the first Serve
}

func (m *Mux) ours() *side     { return m.sides[0] }
func (m *Mux) upstream() *side { return m.sides[1] }

// New returns a Mux, which connects to upstream when it first has to.
func New(c Config) (*Mux, error) {
	if c.Local == nil {
		return nil, fmt.Errorf("cri multiplexer: needs a local runtime: %w", errdefs.ErrInvalidArgument)
	}
	dial, err := endpoint.Dialer(c.Upstream)
	if err != nil {
		return nil, fmt.Errorf("cri multiplexer: upstream: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	orElse := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orElse(&c.AskTimeout, 5*time.Second)
	orElse(&c.Grace, 30*time.Second)
	orElse(&c.DrainTimeout, 10*time.Second)
	m := &Mux{
		local: c.Local, memory: newMemoryListener(), handlers: slices.Clone(c.Handlers),
		askTimeout: c.AskTimeout, grace: time.Now().Add(c.Grace), drainTimeout: c.DrainTimeout,
		log: c.Logger, draining: make(chan struct{}),
	}
	m.drain = sync.OnceFunc(func() { close(m.draining) })
	m.rules = m.makeRules()
	if m.sides[0], err = newSide("porthole", m.memory.dial); err != nil {
		return nil, fmt.Errorf("cri multiplexer: %w", err)
	}
	if m.sides[1], err = newSide("upstream", dial); err != nil {
		return nil, errors.Join(fmt.Errorf("cri multiplexer: %w", err), m.sides[0].conn.Close())
	}
	m.fallback = m.sides[0]
	if c.DefaultUpstream {
		m.fallback = m.sides[1]
	}
	return m, nil
}

// Close lets go of both runtimes. Serve has returned by then, or was never called.
func (m *Mux) Close() error {
	return errors.Join(m.sides[0].conn.Close(), m.sides[1].conn.Close(), m.memory.Close())
}

// Serve answers calls on l until ctx ends; then it takes no more, waits for those that
// run, at most DrainTimeout, and returns nil. It closes l. It may be called for several
// listeners at once; the local runtime runs from the first to the last of them, and not
// again after that.
func (m *Mux) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(
		grpc.ForceServerCodecV2(frameCodec{}),
		grpc.UnknownServiceHandler(m.handle),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	local := m.startLocal(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := g.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve cri: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		var err error
		select {
		case <-ctx.Done():
		case <-local.done:
			err = errors.Join(errors.New("the local runtime ended"), local.err)
		}
		m.drain()
		force := time.AfterFunc(m.drainTimeout, g.Stop)
		g.GracefulStop()
		force.Stop()
		return err
	})
	err := group.Wait()
	if stopErr := m.stopLocal(); err == nil {
		err = stopErr
	}
	return err
}

// localRun is the local runtime while it serves.
type localRun struct {
	users  int // Serve calls; guarded by Mux.mu
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	err    error         // why; after done
}

// startLocal starts the local runtime for the first who calls. It outlives the calls
// that are passed to it: its context does not end with ctx.
func (m *Mux) startLocal(ctx context.Context) *localRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run == nil {
		run := &localRun{done: make(chan struct{})}
		ctx, run.cancel = context.WithCancel(context.WithoutCancel(ctx))
		go func() { // stopLocal waits for it
			defer close(run.done)
			run.err = m.local.Serve(ctx, m.memory)
		}()
		m.run = run
	}
	m.run.users++
	return m.run
}

// stopLocal ends the local runtime when the last who started it calls, and returns its
// error to that one.
func (m *Mux) stopLocal() error {
	m.mu.Lock()
	m.run.users--
	last := m.run.users == 0
	m.mu.Unlock()
	if !last {
		return nil
	}
	m.run.cancel()
	<-m.run.done
	return m.run.err
}
