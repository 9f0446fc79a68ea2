package streaming

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
)

// clientTLS trusts whatever the server shows: it is not the client that is tested.
var clientTLS = &tls.Config{InsecureSkipVerify: true}

func TestURL_Refuses(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	tests := []struct {
		name string
		url  func() (string, error)
	}{
		{"exec_no_container", func() (string, error) { return s.ExecURL(Request{Cmd: []string{"x"}, Stdout: true}) }},
		{"exec_no_command", func() (string, error) { return s.ExecURL(Request{ContainerID: "ctr", Stdout: true}) }},
		{"exec_no_stream", func() (string, error) { return s.ExecURL(Request{ContainerID: "ctr", Cmd: []string{"x"}}) }},
		{"exec_tty_stderr", func() (string, error) {
			return s.ExecURL(Request{ContainerID: "ctr", Cmd: []string{"x"}, TTY: true, Stderr: true})
		}},
		{"attach_no_container", func() (string, error) { return s.AttachURL(Request{Stdout: true}) }},
		{"attach_no_stream", func() (string, error) { return s.AttachURL(Request{ContainerID: "ctr"}) }},
		{"forward_no_pod", func() (string, error) { return s.PortForwardURL("", nil) }},
		{"forward_port_0", func() (string, error) { return s.PortForwardURL("pod", []int32{0}) }},
		{"forward_port_65536", func() (string, error) { return s.PortForwardURL("pod", []int32{65536}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if u, err := tt.url(); !errdefs.IsInvalidArgument(err) {
				t.Errorf("= %q, %v, want InvalidArgument", u, err)
			}
		})
	}
}

func TestURL_WorksOnce(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	q := Request{ContainerID: "ctr", Cmd: []string{"both"}, Stdout: true}
	u := execURL(t, s, q)
	if !strings.HasPrefix(u, s.URL()+"/exec/") {
		t.Errorf("URL %q does not start with %q", u, s.URL())
	}
	get := func(u string) int {
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	if code := get(strings.Replace(u, "/exec/", "/attach/", 1)); code != http.StatusNotFound {
		t.Errorf("as attach: %d, want 404", code)
	}
	c := dialExec(t, u, q)
	readAll(t, c.stdout)
	if code := get(u); code != http.StatusNotFound {
		t.Errorf("again: %d, want 404", code)
	}
	if code := get(s.URL() + "/exec/"); code != http.StatusNotFound {
		t.Errorf("without token: %d, want 404", code)
	}
	// A request that is no upgrade gets an HTTP answer, not a cut connection.
	if code := get(execURL(t, s, q)); code != http.StatusBadRequest {
		t.Errorf("without upgrade: %d, want 400", code)
	}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts tokens
		var first string
		for i := range maxTokens {
			token, err := ts.put(kindExec, i)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = token
			}
		}
		if _, err := ts.put(kindExec, "one more"); !errdefs.IsResourceExhausted(err) {
			t.Errorf("put = %v, want ResourceExhausted", err)
		}
		if r, ok := ts.take(kindExec, first); !ok || r != 0 {
			t.Errorf("take = %v, %v, want 0", r, ok)
		}
		if _, ok := ts.take(kindExec, first); ok {
			t.Error("a token was taken twice")
		}
		time.Sleep(tokenTTL - 1)
		late, err := ts.put(kindExec, "late")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := ts.put(kindExec, "room again"); err != nil {
			t.Errorf("put after the others expired = %v", err)
		}
		if len(ts.byText) != 2 || len(ts.order) != 2 {
			t.Errorf("%d tokens, %d expiries are kept, want 2", len(ts.byText), len(ts.order))
		}
		time.Sleep(tokenTTL - 1)
		if _, ok := ts.take(kindExec, late); ok {
			t.Error("an expired token was taken")
		}
	})
}

func TestNew_Refuses(t *testing.T) {
	if _, err := New(Config{Addr: "0.0.0.0:0"}, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("New(0.0.0.0) = %v, want InvalidArgument", err)
	}
	if _, err := New(Config{Addr: "nonsense"}, nil); err == nil {
		t.Error("New(nonsense) succeeded")
	}
	if _, err := New(Config{CertFile: "/nowhere"}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("New(no certificate) = %v, want ErrNotExist", err)
	}
}

func TestTLS(t *testing.T) {
	certFile, keyFile := selfSigned(t)
	s := start(t, Config{Addr: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Logger: testLogger(t)}, newFakeExecutor())
	q := Request{ContainerID: "ctr", Cmd: []string{"flood"}, Stdout: true}
	c := dialExec(t, execURL(t, s, q), q)
	if got := len(readAll(t, c.stdout)); got != 4<<20 {
		t.Errorf("stdout has %d bytes, want %d", got, 4<<20)
	}
	if code, _ := c.wait(); code != "7" {
		t.Errorf("code = %q, want 7", code)
	}
}

func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", pkcs8)
}

func TestSync(t *testing.T) {
	r, err := Sync(t.Context(), time.Minute, func(_ context.Context, s Streams) (int, error) {
		io.WriteString(s.Stdout, "out")
		io.WriteString(s.Stderr, "err")
		return 5, nil
	})
	if err != nil || r.ExitCode != 5 || string(r.Stdout) != "out" || string(r.Stderr) != "err" || r.Truncated {
		t.Errorf("Sync = %+v, %v", r, err)
	}
}

func TestSync_Bounds(t *testing.T) {
	const mib = 1 << 20
	tests := []struct{ out, err, wantOut, wantErr int }{
		{maxSyncAnswer, 0, maxSyncAnswer, 0},
		{17 * mib, 0, maxSyncAnswer, 0},
		{17 * mib, mib, maxSyncAnswer - mib, mib},
		{mib, 17 * mib, mib, maxSyncAnswer - mib},
		{17 * mib, 17 * mib, maxSyncAnswer - maxSyncAnswer/2, maxSyncAnswer / 2},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d_%d", tt.out, tt.err), func(t *testing.T) {
			r, err := Sync(t.Context(), 0, func(_ context.Context, s Streams) (int, error) {
				s.Stdout.Write(make([]byte, tt.out))
				s.Stderr.Write(make([]byte, tt.err))
				return 0, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Stdout) != tt.wantOut || len(r.Stderr) != tt.wantErr {
				t.Errorf("kept %d and %d, want %d and %d", len(r.Stdout), len(r.Stderr), tt.wantOut, tt.wantErr)
			}
			if want := tt.out+tt.err > maxSyncAnswer; r.Truncated != want {
				t.Errorf("Truncated = %t, want %t", r.Truncated, want)
			}
		})
	}
}

func TestSync_Timeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		killed := func(ctx context.Context, _ Streams) (int, error) {
			<-ctx.Done()
			return 0, errors.New("killed")
		}
		_, err := Sync(t.Context(), time.Second, killed)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1s") {
			t.Errorf("after the timeout: %v, want DeadlineExceeded that names it", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := Sync(ctx, time.Minute, killed); err == nil || err.Error() != "killed" {
			t.Errorf("after the caller left: %v, want what run said", err)
		}
	})
}
