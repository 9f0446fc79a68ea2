package streaming

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"k8s.io/klog/v2"
)

// Config says how a Server serves.
type Config struct {
	// Addr is the host:port to listen on; "127.0.0.1:0" when empty. Port 0 takes a free
	// one. Without TLS it must be a loopback address, as a URL's token is all that guards
	// a shell in a container.
	Addr string
	// CertFile and KeyFile are PEM files; both or neither. They are read anew for each
	// connection, so that they can be renewed. Clients check the certificate against the
	// system's roots.
	CertFile, KeyFile string
	// IdleTimeout ends a stream on which nothing moves; 4 hours when 0.
	IdleTimeout time.Duration
	// CreationTimeout bounds how long a client may take to open its streams; 30 s when 0.
	CreationTimeout time.Duration
	// CloseTimeout bounds how long Serve waits for Executor calls at its end; 5 s when 0.
	CloseTimeout time.Duration
	Logger       *slog.Logger // nil: none
}

// Server serves streams.
type Server struct {
	config        Config        // immutable after New
	executor      Executor      // immutable after New
	base          string        // what URLs start with; immutable after New
	watchInterval time.Duration // as pongInterval: set before Serve
	pongInterval  time.Duration
	listener      net.Listener
	http          *http.Server
	tokens        tokens
	calls         gate           // Executor calls, and the handlers around them
	conns         sync.WaitGroup // connections that linger

	mu   sync.Mutex // guards open and cut
	open map[*conn]struct{}
	cut  bool // connections are refused and none lingers
}

var errServerClosed = fmt.Errorf("streaming server closes: %w", errdefs.ErrUnavailable)

// New listens on the configured address. The caller must call Serve or Close.
func New(c Config, e Executor) (*Server, error) {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 4 * time.Hour
	}
	if c.CreationTimeout == 0 {
		c.CreationTimeout = 30 * time.Second
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: c, executor: e, watchInterval: 2 * time.Second, pongInterval: pongInterval, open: make(map[*conn]struct{})}
	tlsConfig, err := loadTLS(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for streams: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); tlsConfig == nil && (!ok || !a.IP.IsLoopback()) {
		l.Close()
		return nil, fmt.Errorf("listen for streams: %s is not a loopback address and TLS is not set up: %w", c.Addr, errdefs.ErrInvalidArgument)
	}
	scheme := "http"
	s.listener = &listener{Listener: l, server: s}
	if tlsConfig != nil {
		scheme = "https"
		s.listener = tls.NewListener(s.listener, tlsConfig)
	}
	s.base = scheme + "://" + l.Addr().String()
	s.http = &http.Server{
		Handler:           s.handler(),
		ConnContext:       connContext,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// loadTLS returns nil without files.
func loadTLS(certFile, keyFile string) (*tls.Config, error) {
	if certFile == "" && keyFile == "" {
		return nil, nil
	}
	load := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("load streaming certificate %q and key %q: %w", certFile, keyFile, err)
		}
		return &cert, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"}, // HTTP/2 has no upgrades
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
	}, nil
}

// URL returns what all URLs start with, such as "http://127.0.0.1:41327".
func (s *Server) URL() string { return s.base }

// Serve answers clients until ctx ends or Close is called, which returns nil. It may be
// called once. At the end it takes no more clients, ends the contexts of all Executor
// calls, and waits up to CloseTimeout until they have returned and their clients were
// told. Calls that then still run are a DeadlineExceeded error.
func (s *Server) Serve(ctx context.Context) error {
	base, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.http.BaseContext = func(net.Listener) context.Context { return base }
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	err := s.http.Serve(s.listener)
	cancel(errServerClosed)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		err = nil
	} else {
		err = fmt.Errorf("serve streams: %w", err)
	}
	return errors.Join(err, s.drain())
}

// Close makes Serve return, or lets go of the address when it was not called.
func (s *Server) Close() error {
	err := s.http.Close()
	if lerr := s.listener.Close(); lerr != nil && !errors.Is(lerr, net.ErrClosed) {
		err = errors.Join(err, lerr)
	}
	if err != nil {
		return fmt.Errorf("close streaming server: %w", err)
	}
	return nil
}

// drain waits for the calls, then cuts what is left.
func (s *Server) drain() error {
	timeout := time.NewTimer(s.config.CloseTimeout)
	defer timeout.Stop()
	idle := s.calls.shut()
	select {
	case <-idle:
	case <-timeout.C:
	}
	s.mu.Lock()
	s.cut = true
	for c := range s.open {
		c.Conn.Close()
	}
	s.mu.Unlock()
	s.conns.Wait()
	// Handlers may still wait for clients to open their streams: that is no call.
	if n := s.calls.running(); n > 0 {
		return fmt.Errorf("close streaming server: %d calls did not end within %s: %w", n, s.config.CloseTimeout, context.DeadlineExceeded)
	}
	return nil
}

// track remembers an open connection; false when no more are taken.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// linger runs f, which Serve waits for; false when it is too late for that.
func (s *Server) linger(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		s.conns.Go(f)
	}
	return !s.cut
}

// RedirectLibraryLog sends what the streaming library logs, which it does through the
// process-wide klog, to l. It is for main to call, once, before New.
func RedirectLibraryLog(l *slog.Logger) { klog.SetSlogLogger(l) }
