package transport

import (
	"context"
	"errors"
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

// TestServeMux_ReadAfterClose: a read of a closed connection fails at once, though the
// host has not ended its direction, and also when one was in flight as it was closed.
func TestServeMux_ReadAfterClose(t *testing.T) {
	result := make(chan error, 10)
	s, _ := dialler(t, func(_ context.Context, _ uint32, c Conn) {
		reading := make(chan struct{})
		go func() {
			close(reading)
			for range 2 { // as a relay does: the first read is woken, the second must not wait
				// Long enough for Close's own goroutine to go first, which once kept the second waiting.
				<-time.After(20 * time.Millisecond)
				if _, err := c.Read(make([]byte, 1)); err == nil {
					result <- errors.New("a read of a closed connection succeeded")
					return
				}
			}
			result <- nil
		}()
		<-reading
		<-time.After(30 * time.Millisecond) // the first read is in flight
		c.Close()
	})
	for range cap(result) {
		open(t, s, 7)
	}
	for range cap(result) {
		select {
		case err := <-result:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a read of a closed connection waits for the host")
		}
	}
}
