package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cri/dialect"
	"github.com/porthole-run/porthole/internal/phase"
)

// maxMessage is the largest message either way: what kubelet's own client takes.
const maxMessage = 16 << 20

// Deps is what a Server works with. All fields are needed.
type Deps struct {
	Pods       Pods
	Containers Containers
	Processes  Processes
	Network    Network
	Images     Images
	Disks      Disks
	Streams    Streams
	Usage      Usage
	Events     Events
}

// Options are a Server's settings. The zero value works but for Version.
type Options struct {
	// Version is this build's version, a semantic version without "v".
	Version string
	// Handlers are the runtime handlers besides the default one.
	Handlers []string
	// Dialect turns the requests of a Windows kubelet; nil: they are refused.
	Dialect *dialect.Windows
	// CgroupDriver is what RuntimeConfig answers, CgroupfsDriver or SystemdDriver; "": that
	// there is none, as on Windows.
	CgroupDriver string
	// Ready is nil, or says why pods cannot run; it is asked on each Status.
	Ready func(context.Context) error
	// Info returns further entries for a verbose Status, each to be shown as JSON.
	Info func(context.Context) map[string]any
	// Journal is told what pulls spend their time on; nil: nobody is.
	Journal *phase.Journal
	// Logger gets one line per call; nil: slog.Default.
	Logger *slog.Logger
	// Metrics registers the call metrics; nil: they are not registered.
	Metrics prometheus.Registerer
	// DrainTimeout bounds how long Serve waits for running calls at its end; 0: 10 s.
	DrainTimeout time.Duration
}

// Server implements both services of the CRI.
type Server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	// Immutable after NewServer.
	pods       Pods
	containers Containers
	processes  Processes
	network    Network
	images     Images
	disks      Disks
	streams    Streams
	usage      Usage
	events     Events
	opts       Options
	handlers   map[string]bool
	calls      *callMetrics
	listed     *listed

	ending     chan struct{} // closed when a Serve ends
	endingOnce sync.Once

	mu        sync.Mutex // guards diskMount
	diskMount string     // empty: not asked for yet
}

var (
	_ runtimeapi.RuntimeServiceServer = (*Server)(nil)
	_ runtimeapi.ImageServiceServer   = (*Server)(nil)
)

// NewServer returns a Server that serves nothing yet.
func NewServer(d Deps, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 10 * time.Second
	}
	handlers := map[string]bool{"": true}
	for _, h := range o.Handlers {
		handlers[h] = true
	}
	return &Server{
		pods: d.Pods, containers: d.Containers, processes: d.Processes,
		network: d.Network, images: d.Images, disks: d.Disks, streams: d.Streams,
		usage: d.Usage, events: d.Events, ending: make(chan struct{}),
		opts: o, handlers: handlers, calls: newCallMetrics(o.Metrics), listed: &listed{},
	}
}

// Register adds both services to g, which should be made with GRPCOptions.
func (s *Server) Register(g *grpc.Server) {
	g.RegisterService(runtimeService(), s)
	runtimeapi.RegisterImageServiceServer(g, s)
}

// GRPCOptions returns the limits and the interceptors the services count on.
func (s *Server) GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.ForceServerCodecV2(newCodec(s.listed)),
		grpc.UnaryInterceptor(s.intercept),
		grpc.StreamInterceptor(s.interceptStream),
		// A client may ping as it likes: it is root on this host.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
}

// Serve answers calls on l until ctx ends; then it takes no more, waits for those that
// run, at most DrainTimeout, and returns nil. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(s.GRPCOptions()...)
	s.Register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve cri: %w", err)
	case <-ctx.Done():
	}
	// Of the calls that run those that would last for ever are ended.
	s.endingOnce.Do(func() { close(s.ending) })
	force := time.AfterFunc(s.opts.DrainTimeout, g.Stop)
	g.GracefulStop()
	force.Stop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve cri: %w", err)
	}
	return nil
}
