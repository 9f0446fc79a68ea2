package simnode

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/image"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/ocispec"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
	"github.com/porthole-run/porthole/streaming"
	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// Config is what a Node is made from. The zero value works.
type Config struct {
	Storm    *Storm           // nil: nothing fails
	Timeouts sandbox.Timeouts // zero: the daemon's defaults
	Log      io.Writer        // of the daemon; nil: none
	Dir      string           // where its folder is made; empty: where temporary files are
}

// Node is a simulated host with a daemon.
type Node struct {
	Host     *sandboxtest.Node  // VMs, networks, scratch disks
	Registry *registry.Registry // has the images App and Job
	Socket   string

	config Config
	log    *slog.Logger
	dir    string

	mu     sync.Mutex // guards daemon
	daemon *daemon    // nil: it was killed
}

// Repositories of Registry, each with the tag "1".
const (
	App = "sim/app"
	Job = "sim/job"
)

// daemon is one life of the daemon.
type daemon struct {
	life    *life
	atWork  atomic.Int64 // calls that are not ended
	stop    context.CancelFunc
	served  chan error // gets one error of each server
	rpc     *grpc.Server
	streams *streaming.Server
	images  *image.Store
	manager *sandbox.Manager
}

// Start makes a node and starts its daemon. Close it.
func Start(ctx context.Context, c Config) (_ *Node, err error) {
	dir, err := os.MkdirTemp(c.Dir, "sim") // short: a socket lies in it
	if err != nil {
		return nil, err
	}
	n := &Node{Host: sandboxtest.New(), config: c, dir: dir, Socket: filepath.Join(dir, "cri.sock")}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if c.Log == nil {
		c.Log = io.Discard
	}
	n.log = slog.New(slog.NewTextHandler(c.Log, nil))
	if n.Registry, err = registry.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	for _, repository := range []string{App, Job} {
		img, err := debimage.Build(ctx, debimage.Spec{
			Config: v1.Config{Cmd: []string{"/run"}},
			Files:  []map[string]debimage.File{{"run": {Content: repository}}, {"etc/motd": {Content: "of " + repository}}},
		})
		if err != nil {
			return nil, err
		}
		if _, err := n.Registry.Push(ctx, repository, "1", img); err != nil {
			return nil, err
		}
	}
	return n, n.Restart(ctx)
}

// Ref is the name of an image of Registry.
func (n *Node) Ref(repository string) string { return n.Registry.Host() + "/" + repository + ":1" }

// state is the folder of all that a daemon writes and the next one finds.
func (n *Node) state() string { return filepath.Join(n.dir, "state") }

// Records is the folder of the pods' records.
func (n *Node) Records() string { return filepath.Join(n.state(), "sandboxes") }

// Images is the image store's folder.
func (n *Node) Images() string { return filepath.Join(n.state(), "images") }

// Restart starts a daemon, which takes over what the one before it left.
func (n *Node) Restart(ctx context.Context) (err error) {
	ctx = logkey.NewContext(context.WithoutCancel(ctx), n.log)
	d := &daemon{life: newLife(n.config.Storm), served: make(chan error, 2)}
	ctx, d.stop = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	d.images, err = image.Open(image.Config{
		Root: n.Images(), ProgressTimeout: 10 * time.Second, KeepFailed: time.Second, Logger: n.log,
	})
	if err != nil {
		return err
	}
	c := n.Host.Config(n.Records())
	c.Logger, c.Timeouts = n.log, n.config.Timeouts
	c.Launcher = d.life.launcher(c.Launcher)
	c.Network = d.life.network(c.Network)
	c.Scratch = d.life.scratch(c.Scratch)
	c.Images = rootFS{d.images}
	c.Specs = ocispec.New("amd64")
	if d.manager, err = sandbox.New(ctx, c); err != nil {
		return err
	}
	d.streams, err = streaming.New(streaming.Config{Logger: n.log}, executor{d.manager})
	if err != nil {
		return err
	}
	edge := cri.NewServer(cri.Deps{
		Pods: d.manager, Containers: d.manager, Processes: d.manager, Network: d.manager,
		Images: storeImages{d.images}, Disks: disks{d.manager}, Streams: urls{d.streams},
		Usage: d.manager, Events: d.manager,
	}, cri.Options{Version: "0.0.0", Handlers: []string{sandboxtest.SharedHandler}, Logger: n.log})
	if err := os.Remove(n.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", n.Socket)
	if err != nil {
		return err
	}
	// Its calls are waited for at its end: one of a dead daemon may not write beside the next.
	d.rpc = grpc.NewServer(append(edge.GRPCOptions(), grpc.ChainUnaryInterceptor(d.answer), grpc.ChainStreamInterceptor(d.stream), grpc.WaitForHandlers(true))...)
	edge.Register(d.rpc)
	go func() { d.served <- d.rpc.Serve(l) }()
	go func() { d.served <- d.streams.Serve(ctx) }()
	n.mu.Lock()
	n.daemon = d
	n.mu.Unlock()
	return nil
}

// Kill ends the daemon as SIGKILL does: from one moment on nothing that it does has an
// effect on the host, on its records or on the names in its image store, and its callers'
// connections break. VMs go on.
func (n *Node) Kill() error {
	n.mu.Lock()
	d := n.daemon
	n.daemon = nil
	n.mu.Unlock()
	if d == nil {
		return errors.New("kill daemon: none runs")
	}
	// What it wants from the host waits until its files are out of its reach: so all that
	// it still writes meanwhile was done before the moment it dies.
	kept := n.state() + ".kept"
	bury := d.life.end()
	err := os.Rename(n.state(), kept)
	bury()
	err = errors.Join(err, d.close())
	// What is there now was written after its death.
	return errors.Join(err, os.RemoveAll(n.state()), os.Rename(kept, n.state()))
}

// AtWork is how many calls the daemon has not ended, whether or not their callers still
// wait. Streams are not counted.
func (n *Node) AtWork() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.daemon == nil {
		return 0
	}
	return int(n.daemon.atWork.Load())
}

// answer counts calls, and keeps what a dead daemon would still answer, of records that
// nobody will find, from its callers.
func (d *daemon) answer(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	d.atWork.Add(1)
	defer d.atWork.Add(-1)
	out, err := handle(ctx, req)
	if d.life.ended() {
		return nil, errGone
	}
	return out, err
}

// stream is for streams what answer is for other calls.
func (d *daemon) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return handle(srv, livingStream{s, d.life})
}

// errGone is what a caller sees of a daemon that dies.
var errGone = status.Error(codes.Unavailable, "the daemon is dead")

// livingStream ends with its daemon.
type livingStream struct {
	grpc.ServerStream
	life *life
}

// SendMsg implements grpc.ServerStream.
func (s livingStream) SendMsg(m any) error {
	if s.life.ended() {
		return errGone
	}
	return s.ServerStream.SendMsg(m)
}

// Client connects to the daemon. The connection outlives it: calls wait for the next one.
func (n *Node) Client() (*grpc.ClientConn, runtimeapi.RuntimeServiceClient, runtimeapi.ImageServiceClient, error) {
	return Dial(n.Socket)
}

// Dial is Client for a node of another process.
func Dial(socket string) (*grpc.ClientConn, runtimeapi.RuntimeServiceClient, runtimeapi.ImageServiceClient, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond}, MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.WaitForReady(true)))
	if err != nil {
		return nil, nil, nil, err
	}
	return conn, runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn), nil
}

// close ends a life and waits for all that it runs.
func (d *daemon) close() error {
	var errs []error
	d.stop()
	if d.rpc != nil {
		d.rpc.Stop()
		if err := <-d.served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			errs = append(errs, err)
		}
		errs = append(errs, <-d.served)
	} else if d.streams != nil {
		errs = append(errs, d.streams.Close())
	}
	if d.manager != nil {
		d.manager.Close()
	}
	if d.images != nil {
		errs = append(errs, d.images.Close())
	}
	return errors.Join(errs...)
}

// Close ends the daemon and removes all files. The daemon of what is left running on the
// host is gone then.
func (n *Node) Close() error {
	var errs []error
	n.mu.Lock()
	d := n.daemon
	n.daemon = nil
	n.mu.Unlock()
	if d != nil {
		errs = append(errs, d.close())
	}
	if n.Registry != nil {
		errs = append(errs, n.Registry.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(n.dir))...)
}
