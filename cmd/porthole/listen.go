package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/localsock"
)

// dialTimeout bounds how long an endpoint may take to answer; all are on this host.
const dialTimeout = time.Second

// pipeBuffer is what a pipe holds each way before a writer waits.
const pipeBuffer = 64 << 10

// listenCRI makes the listener of the CRI's endpoint, for those whom the configuration
// lets in.
func listenCRI(ctx context.Context, c config.GRPC) (net.Listener, error) {
	e := c.Endpoint()
	if e.Kind == config.TCP {
		return listenTCP(ctx, c, e.Address)
	}
	return listenLocal(ctx, e, int(c.GID), fs.FileMode(c.Mode), c.SecurityDescriptor)
}

// listenAdmin makes the listener of the image commands' endpoint, for root (Administrators).
func listenAdmin(ctx context.Context, c config.Config) (net.Listener, error) {
	return listenLocal(ctx, adminEndpoint(c), 0, 0o600, config.DefaultDescriptor)
}

// listenLocal makes a unix socket or a named pipe. errRunning when it is served.
func listenLocal(ctx context.Context, e config.Endpoint, gid int, mode fs.FileMode, descriptor string) (net.Listener, error) {
	if e.Kind == config.Pipe {
		if answers(ctx, e) == nil {
			return nil, fmt.Errorf("listen on %s: %w", e, errRunning)
		}
		l, err := localsock.ListenPipe(e.Address, localsock.PipeConfig{Descriptor: descriptor, Buffer: pipeBuffer})
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%w: %w", err, errRunning)
		}
		return l, err
	}
	if localsock.MaxPath == 0 { // local sockets are no files here
		return nil, fmt.Errorf("listen on %s: %w", e, errors.ErrUnsupported)
	}
	return listenSocket(ctx, e.Address, gid, mode)
}

// dial connects to an endpoint of this host.
func dial(ctx context.Context, e config.Endpoint) (net.Conn, error) {
	if e.Kind == config.Pipe {
		conn, err := localsock.DialPipe(ctx, e.Address)
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("%w: Administrators and SYSTEM may: use an elevated prompt", err)
		}
		return conn, err
	}
	return new(net.Dialer).DialContext(ctx, string(e.Kind), e.Address)
}

// answers is nil when somebody serves an endpoint.
func answers(ctx context.Context, e config.Endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dial(ctx, e)
	if err != nil {
		return err
	}
	return conn.Close()
}

// listenTCP listens on a loopback address, for clients with a certificate that one of the
// authorities has signed, or, for tests, for all.
func listenTCP(ctx context.Context, c config.GRPC, addr string) (net.Listener, error) {
	var secure *tls.Config
	if !c.InsecureTCP {
		var err error
		if secure, err = mutualTLS(c); err != nil {
			return nil, fmt.Errorf("listen on tcp://%s: %w", addr, err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp://%s: %w", addr, err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = l.Close()
		return nil, fmt.Errorf("listen on tcp://%s: it is not a loopback address: %w", addr, errdefs.ErrInvalidArgument)
	}
	if secure == nil {
		return l, nil
	}
	return tls.NewListener(l, secure), nil
}

// mutualTLS reads the files now, to say what is wrong with them, and at each connection,
// so that they can be renewed.
func mutualTLS(c config.GRPC) (*tls.Config, error) {
	load := func() (*tls.Config, error) {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load certificate %s and key %s: %w", c.CertFile, c.KeyFile, err)
		}
		pem, err := os.ReadFile(c.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("load clients' authorities: %w", err)
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("load clients' authorities: %s has no certificate in PEM", c.ClientCAFile)
		}
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			NextProtos:   []string{"h2"},
			Certificates: []tls.Certificate{cert},
			ClientCAs:    authorities,
			ClientAuth:   tls.RequireAndVerifyClientCert,
		}, nil
	}
	first, err := load()
	if err != nil {
		return nil, err
	}
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return load() }
	return first, nil
}
