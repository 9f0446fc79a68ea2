package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/test/authority"
)

// serveCRI serves a CRI that answers Version alone, and returns its address.
func serveCRI(t *testing.T, c config.GRPC) string {
	t.Helper()
	l, err := listenTCP(t.Context(), c, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(serveCRIOn(t, l))
	return l.Addr().String()
}

// serveCRIOn serves such a CRI on l until stop is called.
func serveCRIOn(t *testing.T, l net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- cri.NewServer(cri.Deps{}, cri.Options{Version: "7.8.9", DrainTimeout: time.Millisecond}).Serve(ctx, l)
	}()
	return func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// askVersion returns the version that the server at addr tells.
func askVersion(t *testing.T, addr string, creds credentials.TransportCredentials, opts ...grpc.DialOption) (string, error) {
	t.Helper()
	conn, err := grpc.NewClient(addr, append(opts, grpc.WithTransportCredentials(creds))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := runtimeapi.NewRuntimeServiceClient(conn).Version(ctx, &runtimeapi.VersionRequest{})
	return r.GetRuntimeVersion(), err
}

func TestListenTCP_ClientCertificates(t *testing.T) {
	nodeCA, otherCA := authority.New(t, "node"), authority.New(t, "other")
	dir := t.TempDir()
	c := config.GRPC{CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"), ClientCAFile: filepath.Join(dir, "ca")}
	later := time.Now().Add(time.Hour)
	cert, key := nodeCA.Issue(x509.ExtKeyUsageServerAuth, later)
	write := func(files map[string][]byte) {
		t.Helper()
		for path, data := range files {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(map[string][]byte{c.CertFile: cert, c.KeyFile: key, c.ClientCAFile: nodeCA.PEM()})
	addr := serveCRI(t, c)

	client := func(a *authority.Authority, use x509.ExtKeyUsage, until time.Time, version uint16) credentials.TransportCredentials {
		conf := nodeCA.Client(a, use, until)
		conf.MaxVersion = version
		return credentials.NewTLS(conf)
	}
	refused := map[string]credentials.TransportCredentials{
		"no_tls":         insecure.NewCredentials(),
		"no_certificate": client(nil, 0, later, 0),
		"other_ca":       client(otherCA, x509.ExtKeyUsageClientAuth, later, 0),
		"server_s":       client(nodeCA, x509.ExtKeyUsageServerAuth, later, 0),
		"expired":        client(nodeCA, x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute), 0),
		"old_tls":        client(nodeCA, x509.ExtKeyUsageClientAuth, later, tls.VersionTLS12),
	}
	for name, creds := range refused {
		t.Run(name, func(t *testing.T) {
			if v, err := askVersion(t, addr, creds); status.Code(err) != codes.Unavailable {
				t.Errorf("Version = %q, %v, want Unavailable", v, err)
			}
		})
	}
	good := client(nodeCA, x509.ExtKeyUsageClientAuth, later, 0)
	if v, err := askVersion(t, addr, good); err != nil || v != "7.8.9" {
		t.Errorf("with a certificate: Version = %q, %v", v, err)
	}
	// The authority is replaced while the server runs.
	write(map[string][]byte{c.ClientCAFile: otherCA.PEM()})
	if v, err := askVersion(t, addr, good); status.Code(err) != codes.Unavailable {
		t.Errorf("with a certificate of the old authority: Version = %q, %v, want Unavailable", v, err)
	}
	if v, err := askVersion(t, addr, client(otherCA, x509.ExtKeyUsageClientAuth, later, 0)); err != nil || v != "7.8.9" {
		t.Errorf("with a certificate of the new authority: Version = %q, %v", v, err)
	}
}

func TestListenTCP_Insecure(t *testing.T) {
	addr := serveCRI(t, config.GRPC{InsecureTCP: true})
	if v, err := askVersion(t, addr, insecure.NewCredentials()); err != nil || v != "7.8.9" {
		t.Errorf("Version = %q, %v", v, err)
	}
}

func TestListenTCP_Refuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	a := authority.New(t, "a")
	cert, key := a.Issue(x509.ExtKeyUsageServerAuth, time.Now().Add(time.Hour))
	for name, data := range map[string][]byte{"cert": cert, "key": key, "ca": a.PEM(), "rubbish": []byte("x")} {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		c    config.GRPC
		addr string
		text string
	}{
		"no_files":    {config.GRPC{}, "127.0.0.1:0", "load certificate"},
		"no_key":      {config.GRPC{CertFile: path("cert"), KeyFile: path("none"), ClientCAFile: path("ca")}, "127.0.0.1:0", path("none")},
		"other_key":   {config.GRPC{CertFile: path("ca"), KeyFile: path("key"), ClientCAFile: path("ca")}, "127.0.0.1:0", "private key does not match"},
		"no_ca":       {config.GRPC{CertFile: path("cert"), KeyFile: path("key"), ClientCAFile: path("none")}, "127.0.0.1:0", path("none")},
		"rubbish_ca":  {config.GRPC{CertFile: path("cert"), KeyFile: path("key"), ClientCAFile: path("rubbish")}, "127.0.0.1:0", "has no certificate in PEM"},
		"all_hosts":   {config.GRPC{CertFile: path("cert"), KeyFile: path("key"), ClientCAFile: path("ca")}, "0.0.0.0:0", "not a loopback address"},
		"insecure_on": {config.GRPC{InsecureTCP: true}, "0.0.0.0:0", "not a loopback address"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := listenTCP(t.Context(), tt.c, tt.addr)
			if err == nil {
				l.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("listenTCP = %v, want %q", err, tt.text)
			}
			if tt.addr == "0.0.0.0:0" && !errdefs.IsInvalidArgument(err) {
				t.Errorf("listenTCP = %v, want InvalidArgument", err)
			}
		})
	}
}

// TestListenCRI_Kinds listens at each kind of endpoint that this system has.
func TestListenCRI_Kinds(t *testing.T) {
	socket := filepath.ToSlash(filepath.Join(t.TempDir(), "s"))
	socket = socket[strings.IndexByte(socket, '/'):] // without a drive
	served := 0
	for _, text := range []string{socket, "unix://" + socket, fmt.Sprintf("npipe:////./pipe/porthole-test-%d", os.Getpid())} {
		c := config.GRPC{Socket: text, GID: int64(os.Getgid()), Mode: 0o600, SecurityDescriptor: config.DefaultDescriptor}
		l, err := listenCRI(t.Context(), c)
		if errors.Is(err, errors.ErrUnsupported) && exitCode(err) == exitUnsupported {
			continue // the twin of another system
		}
		if err != nil {
			t.Errorf("listenCRI(%s) = %v", text, err)
			continue
		}
		stop := serveCRIOn(t, l)
		if err := answers(t.Context(), c.Endpoint()); err != nil {
			t.Errorf("%s does not answer: %v", text, err)
		}
		if _, err := listenCRI(t.Context(), c); !errors.Is(err, errRunning) {
			t.Errorf("listenCRI(%s) again = %v, want errRunning", text, err)
		}
		v, err := askVersion(t, "passthrough:///"+text, insecure.NewCredentials(),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, c.Endpoint()) }))
		if err != nil || v != "7.8.9" {
			t.Errorf("over %s: Version = %q, %v", text, v, err)
		}
		stop()
		served++
	}
	if served == 0 {
		t.Error("no kind of endpoint is served here")
	}
}
