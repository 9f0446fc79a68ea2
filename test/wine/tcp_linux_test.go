package wine

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/test/authority"
)

// freeAddress is a loopback address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// connect returns a client of the daemon at a TCP address: Wine's are this machine's.
func connect(t *testing.T, addr string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func version(t *testing.T, conn *grpc.ClientConn) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := runtimeapi.NewRuntimeServiceClient(conn).Version(ctx, &runtimeapi.VersionRequest{})
	return r.GetRuntimeName(), err
}

// TestTCP serves with TLS, for clients with a certificate alone.
func TestTCP(t *testing.T) {
	m := newMachine(t)
	ca, other := authority.New(t, "node"), authority.New(t, "other")
	later := time.Now().Add(time.Hour)
	cert, key := ca.Issue(x509.ExtKeyUsageServerAuth, later)
	addr := freeAddress(t)
	grpcTable := func(cert string) string {
		return fmt.Sprintf("[grpc]\nsocket = \"tcp://%s\"\ncert_file = '%s'\nkey_file = '%s'\nclient_ca_file = '%s'\n",
			addr, cert, m.write("key.pem", string(key)), m.write("ca.pem", string(ca.PEM())))
	}
	config, _ := m.configure(t, grpcTable(m.write("cert.pem", string(cert))))
	m.serve(config, "tcp://"+addr)
	if got, err := version(t, connect(t, addr, credentials.NewTLS(ca.Client(ca, x509.ExtKeyUsageClientAuth, later)))); err != nil || got != "porthole" {
		t.Errorf("Version with a certificate = %q, %v", got, err)
	}
	for name, creds := range map[string]credentials.TransportCredentials{
		"no TLS":             insecure.NewCredentials(),
		"no certificate":     credentials.NewTLS(ca.Client(nil, 0, later)),
		"another's":          credentials.NewTLS(ca.Client(other, x509.ExtKeyUsageClientAuth, later)),
		"one that has ended": credentials.NewTLS(ca.Client(ca, x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute))),
	} {
		if got, err := version(t, connect(t, addr, creds)); status.Code(err) != codes.Unavailable {
			t.Errorf("Version with %s = %q, %v, want Unavailable", name, got, err)
		}
	}

	without := strings.NewReplacer("cert.pem", "gone.pem", `C:\ph\`, `C:\other\`, addr, freeAddress(t)).Replace(readConfig(t, config))
	m.fails(1, []string{"load certificate", "gone.pem"}, "porthole.exe", "serve", "--config", m.write("none.toml", without))
}

// readConfig reads a file by the path that programs have for it.
func readConfig(t *testing.T, windows string) string {
	t.Helper()
	b, err := os.ReadFile(strings.ReplaceAll(strings.TrimPrefix(windows, "Z:"), `\`, "/"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLog rotates the daemon's log under readers: one that lets others rename what it
// reads, and one that does not. No line is lost.
func TestLog(t *testing.T) {
	m := newMachine(t)
	addr := freeAddress(t)
	const log = `C:\ph\log\porthole.log`
	config, _ := m.configure(t, fmt.Sprintf(`[log]
level = "debug"
file = '%s'
max_size = "64KiB"
max_files = 50
[grpc]
socket = "tcp://%s"
insecure_tcp = true
`, log, addr))
	d := m.serveQuietly(config, log)
	defer d.kill()
	conn := connect(t, addr, insecure.NewCredentials())
	calls := 0
	fill := func(until func() bool) {
		t.Helper()
		for !until() {
			if calls++; calls > 5000 {
				t.Fatal("5000 calls, and the log is not as it should be")
			}
			if _, err := version(t, conn); err != nil {
				t.Fatal(err)
			}
		}
	}
	files := func() []string {
		all, err := filepath.Glob(m.Path(log) + "*")
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	size := func() int64 {
		st, err := os.Stat(m.Path(log))
		if err != nil {
			return 0 // between two
		}
		return st.Size()
	}
	sharing := m.hold("share", log)
	fill(func() bool { return len(files()) == 2 })
	sharing()
	held := m.hold("hold", log)
	fill(func() bool { return size() > 100<<10 })
	if got := files(); len(got) != 2 {
		t.Errorf("files while a reader holds the log: %q, want two", got)
	}
	held()
	fill(func() bool { return len(files()) == 3 })

	got := 0
	for _, f := range files() {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got += strings.Count(string(b), `"method":"Version"`)
	}
	if got != calls {
		t.Errorf("the logs have %d calls of %d", got, calls)
	}
}
