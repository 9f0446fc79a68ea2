package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/porthole-run/porthole/guest/api"
)

// dialler serves h over a mux and returns the host's session and a channel for what
// ServeMux returned.
func dialler(t *testing.T, h Handler) (*yamux.Session, <-chan error) {
	t.Helper()
	host, guest := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- ServeMux(context.Background(), guest, h) }()
	s, err := yamux.Client(host, api.MuxConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, done
}

func open(t *testing.T, s *yamux.Session, port uint32) *yamux.Stream {
	t.Helper()
	c, err := s.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := api.WritePort(c, port); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServeMux_HalfClose(t *testing.T) {
	s, done := dialler(t, func(_ context.Context, port uint32, c Conn) {
		defer c.Close()
		b, err := io.ReadAll(c)
		fmt.Fprintf(c, "port %d got %q %v", port, b, err)
	})
	c := open(t, s, 7)
	fmt.Fprint(c, "hello")
	c.Close() // a yamux stream's Close ends the write side
	got, err := io.ReadAll(c)
	if want := `port 7 got "hello" <nil>`; err != nil || string(got) != want {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
	s.Close()
	if err := <-done; err != nil {
		t.Errorf("ServeMux = %v after the host hung up, want nil", err)
	}
}

// TestServeMux_CloseDrains: a host that sends into a closed stream is not held up.
func TestServeMux_CloseDrains(t *testing.T) {
	s, _ := dialler(t, func(_ context.Context, _ uint32, c Conn) { c.Close() })
	c := open(t, s, 7)
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(make([]byte, 4<<20)); err != nil {
		t.Errorf("Write = %v", err)
	}
	c.Close()
	if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestServeMux_HandlersEndWithSession(t *testing.T) {
	s, done := dialler(t, func(ctx context.Context, _ uint32, c Conn) {
		defer c.Close()
		<-ctx.Done()
	})
	open(t, s, 7)
	s.Close()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("ServeMux goes on after the session ended")
	}
}

func TestServeMux_Garbage(t *testing.T) {
	host, guest := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- ServeMux(context.Background(), guest, func(_ context.Context, _ uint32, c Conn) { c.Close() })
	}()
	go io.Copy(io.Discard, host)
	host.Write([]byte("this is not a yamux header"))
	if err := <-done; err == nil {
		t.Error("ServeMux of garbage = nil, want an error")
	}
}
