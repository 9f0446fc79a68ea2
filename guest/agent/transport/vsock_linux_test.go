package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVsockListener runs on AF_UNIX: the code differs by the address alone, and AF_VSOCK
// has no loopback everywhere.
func TestVsockListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen(unix.AF_UNIX, &unix.SockaddrUnix{Name: path}, 1025)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- l.Serve(ctx, func(_ context.Context, port uint32, c Conn) {
			defer c.Close()
			b, err := io.ReadAll(c)
			fmt.Fprintf(c, "port %d got %q %v", port, b, err)
			c.CloseWrite()
		})
	}()
	for range 3 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "hello")
		c.(*net.UnixConn).CloseWrite()
		got, err := io.ReadAll(c)
		if want := `port 1025 got "hello" <nil>`; err != nil || string(got) != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
		c.Close()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve = %v, want Canceled", err)
	}
}
