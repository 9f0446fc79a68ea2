package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/withdrawn"
	"github.com/porthole-run/porthole/sandbox"
)

// ServerConfig is what a Server is made from.
type ServerConfig struct {
	VM           sandbox.VMConfig
	Driver       sandbox.Driver
	StartTimeout time.Duration // from Create until the agent answers; 0: 60 s
	Version      string        // the shim's build
	OpenLog      LogOpener     // nil: no container logs
	OpenShare    ShareOpener   // nil: no folders of the host
	CloseShares  func() error  // called once all shares are closed; nil: nothing
	Log          *slog.Logger
	// Template is what the VM is cloned from; nil: it boots. When it cannot be cloned it
	// boots all the same, within the same time. Start closes the files.
	Template *Template
	// Restore is what the VM is restored from, and from nothing else; nil: it is cloned or
	// boots.
	Restore *sandbox.ShimRestore
	// CloneTimeout bounds the attempt to clone; 0: 10 s.
	CloneTimeout time.Duration
}

// A LogOpener opens the log of one container. No link below dir, in which path is, leads
// out of dir; dir is empty when a daemon asks that tells none.
type LogOpener func(dir, path string, terminal bool) (Log, error)

// A Log takes a container's output. Writers and Reopen are safe for concurrent use.
type Log interface {
	Stdout() io.Writer
	Stderr() io.Writer
	// Reopen closes the file and opens its path anew.
	Reopen() error
	// Flush writes what there is of unfinished lines.
	Flush() error
	Close() error
}

// Server owns one VM and serves it to the daemon.
type Server struct {
	version     string        // immutable after Start
	openLog     LogOpener     // immutable after Start
	log         *slog.Logger  // immutable after Start
	vm          sandbox.VM    // immutable after Start
	guest       *guest.Client // immutable after Start
	layers      *layerSet     // immutable after Start
	volumes     *volumeSet    // immutable after Start
	shares      *shareSet     // immutable after Start
	broken      chan error    // why the VM cannot go on
	closeShares func() error  // immutable after Start
	begun       time.Time     // immutable after Start; no process of the guest is older
	vcpus       int           // immutable after Start
	memoryMiB   int           // immutable after Start
	phases      []byte        // immutable after Start; of the VM's start
	shared      bool          // immutable after Start; it may hold several pods
	template    string        // immutable after Start; id of what the VM is a clone of
	templateErr error         // immutable after Start; why it is none though it was to be

	bundle   *bundle    // immutable after Start
	restored *restoring // immutable after Start; nil: the VM was not restored
	sessions *sessions
	conns    *connSet

	ending  chan struct{} // closed once the VM is to end
	endOnce sync.Once
	wg      sync.WaitGroup // the server's own goroutines
	calls   sync.WaitGroup // calls being served

	mu         sync.Mutex // guards the rest
	pods       map[string]*pod
	containers map[string]*container
	asked      map[bool]*asked // by whether open files are wanted
	withdrawn  withdrawn.Set   // pods and containers that were removed before they were made
}

// Start makes and starts the VM and connects to its agent. A guest that dies or does not
// answer in time is an error that carries the end of its console. On error nothing is left.
func Start(ctx context.Context, cfg ServerConfig) (*Server, error) {
	timeout := cfg.StartTimeout
	if timeout <= 0 {
		timeout = defaultStartTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout,
		fmt.Errorf("it took longer than %s: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	begun := time.Now()
	ctx, phases := phase.Record(ctx)
	bundle, err := openBundle(cfg)
	if err != nil {
		return nil, err
	}
	up, err := startVM(ctx, cfg)
	if err != nil {
		bundle.close()
		return nil, err
	}
	vm, client := up.vm, up.guest
	cfg.Log.InfoContext(ctx, "vm is up", "template", up.template,
		"kernel", client.Info().KernelRelease, "agent_version", client.Info().AgentVersion,
		logkey.Duration, time.Since(begun))
	s := &Server{
		version:     cfg.Version,
		openLog:     cfg.OpenLog,
		log:         cfg.Log,
		vm:          vm,
		guest:       client,
		layers:      newLayerSet(vm),
		volumes:     newVolumeSet(vm),
		broken:      make(chan error, 1),
		closeShares: cfg.CloseShares,
		begun:       begun,
		vcpus:       cfg.VM.VCPUs,
		memoryMiB:   cfg.VM.MemoryMiB,
		phases:      phases.Encode(),
		template:    up.template,
		templateErr: up.templateErr,
		bundle:      bundle,
		shared:      cfg.VM.NICs > 1,
		restored:    newRestoring(cfg.Restore),
		sessions:    newSessions(),
		conns:       newConnSet(),
		ending:      make(chan struct{}),
		pods:        map[string]*pod{},
		containers:  map[string]*container{},
		asked:       map[bool]*asked{},
	}
	s.shares = newShareSet(cfg.OpenShare, &guestShares{vm: vm, guest: client}, s.shareBroken, cfg.Log)
	return s, nil
}

// Serve serves the daemon's calls and streams until the VM ends, Shutdown is asked for,
// or ctx ends, and then ends the VM. It returns why the VM ended, nil when that was
// asked for. Connections stay open until Close, so that the reason can be written down
// before clients look for it. It may be called once.
func (s *Server) Serve(ctx context.Context, control, streams net.Listener) error {
	defer control.Close()
	defer streams.Close()
	bctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fail := make(chan error, 2)
	rpc, err := s.newRPC()
	if err != nil {
		return errors.Join(err, s.stopVM(ctx))
	}
	s.wg.Go(func() { fail <- s.serveControl(bctx, rpc, control) })
	s.wg.Go(func() { fail <- s.serveStreams(bctx, streams) })
	s.wg.Go(func() { keepClock(bctx, s.guest.SetClock, s.log) })

	var reason error
	select {
	case <-ctx.Done():
	case <-s.ending:
	case <-s.vm.Done():
		reason = vmEnded(s.vm.Err())
	case <-s.guest.Done():
		reason = s.lostAgent(ctx, fmt.Errorf("connection to the agent is lost: %w", errdefs.ErrUnavailable))
	case err := <-s.broken:
		reason = s.lostAgent(ctx, err)
	case err := <-fail:
		reason = fmt.Errorf("serve daemon: %w", err)
	}
	s.end()
	if reason == nil {
		s.settleVolumes(ctx)
	}
	if err := s.stopVM(ctx); err != nil {
		reason = errors.Join(reason, fmt.Errorf("stop VM: %w", err))
	}
	return reason
}

// vmEnded is the error of calls on a VM that has ended; cause, which may be nil, says
// of itself that it did.
func vmEnded(cause error) error {
	if cause == nil {
		return fmt.Errorf("the VM has ended: %w", errdefs.ErrUnavailable)
	}
	return errUnavailable(cause)
}

// lostAgent tells why a connection to the guest has ended: most often since the VM does,
// else for the cause.
func (s *Server) lostAgent(ctx context.Context, cause error) error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-s.vm.Done():
		return vmEnded(s.vm.Err())
	case <-timer.C:
	case <-ctx.Done():
	}
	return withConsole(cause, s.vm.Console())
}

func (s *Server) stopVM(ctx context.Context) error {
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return s.vm.Stop(sctx)
}

// end makes every call that waits return.
func (s *Server) end() { s.endOnce.Do(func() { close(s.ending) }) }

// Close closes all connections and waits for what the server runs. Serve has returned before.
func (s *Server) Close() {
	s.end()
	s.guest.Close()
	s.conns.closeAll()
	s.sessions.closeAll()
	s.calls.Wait()
	s.mu.Lock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.stopIO()
	}
	s.shares.closeAll()
	s.bundle.close()
	if s.closeShares != nil {
		if err := s.closeShares(); err != nil {
			s.log.Warn("shares were not closed well", logkey.Error, err)
		}
	}
	s.wg.Wait()
}

// Info describes the VM.
func (s *Server) Info() sandbox.ShimInfo {
	info := sandbox.ShimInfo{
		Version:       s.version,
		KernelRelease: s.guest.Info().KernelRelease,
		AgentVersion:  s.guest.Info().AgentVersion,
		Template:      s.template,
		VCPUs:         s.vcpus,
		MemoryMiB:     s.memoryMiB,
	}
	if s.templateErr != nil {
		info.TemplateError = cut(s.templateErr.Error(), maxErrorText)
	}
	if p, ok := s.vm.(interface{ PID() int }); ok {
		info.VMPID = p.PID()
	}
	if a, ok := s.vm.(interface{ Accelerator() string }); ok {
		info.Accelerator = a.Accelerator()
	}
	return info
}

// hostTime bounds a time told by the guest to when it can have been.
func (s *Server) hostTime(t time.Time) time.Time {
	now := time.Now()
	if t.Before(s.begun) || t.After(now) {
		return now
	}
	return t
}

func errUnavailable(err error) error {
	if err == nil {
		return errdefs.ErrUnavailable
	}
	if errdefs.IsUnavailable(err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
}
