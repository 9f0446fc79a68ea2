package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/yamux"

	"github.com/porthole-run/porthole/guest/api"
)

// start connects a client to a guest that serves each stream with serve.
func start(t *testing.T, serve func(port uint32, s *yamux.Stream)) *Client {
	t.Helper()
	host, guest := net.Pipe()
	c, err := New(host)
	if err != nil {
		t.Fatal(err)
	}
	session, err := yamux.Server(guest, api.MuxConfig())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			s, err := session.AcceptStream()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer s.Close()
				port, err := api.ReadPort(s)
				if err == nil {
					serve(port, s)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		_ = session.Close()
		wg.Wait()
	})
	return c
}

func TestClient_Dial(t *testing.T) {
	ports := make(chan uint32, 1)
	c := start(t, func(port uint32, s *yamux.Stream) {
		ports <- port
		_, _ = io.Copy(s, s)
	})
	if err := c.Ready(); err != nil {
		t.Fatal(err)
	}
	conn, err := c.Dial(t.Context(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(conn, "hello")
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if string(got) != "hello" || err != nil {
		t.Errorf("echo = %q, %v", got, err)
	}
	if port := <-ports; port != 1024 {
		t.Errorf("guest saw port %d", port)
	}
	_ = conn.Close()
	_ = conn.Close()
}

// TestConn_CloseLetsGo: a guest that still writes to a stream that was closed gets done.
func TestConn_CloseLetsGo(t *testing.T) {
	wrote := make(chan error, 1)
	c := start(t, func(_ uint32, s *yamux.Stream) {
		_, err := s.Write(make([]byte, 4<<20))
		wrote <- err
	})
	conn, err := c.Dial(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read() after Close = %v, want ErrClosed", err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("guest's write = %v", err)
	}
}

func TestConn_CloseWakesReader(t *testing.T) {
	c := start(t, func(_ uint32, s *yamux.Stream) { _, _ = io.Copy(io.Discard, s) })
	conn, err := c.Dial(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	_ = conn.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read() = %v, want ErrClosed", err)
	}
}

// TestClient_GuestSilent: a guest that reads nothing holds nobody up.
func TestClient_GuestSilent(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	c, err := New(host)
	if err != nil {
		t.Fatal(err)
	}
	// In real time: yamux waits on mutexes, which synctest does not see through.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Dial(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial() = %v, want DeadlineExceeded", err)
	}
	ready := make(chan error)
	go func() { ready <- c.Ready() }()
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := <-ready; !errdefs.IsUnavailable(err) {
		t.Errorf("Ready() = %v, want Unavailable", err)
	}
	if _, err := c.Dial(t.Context(), 1); !errdefs.IsUnavailable(err) {
		t.Errorf("Dial() after Close = %v, want Unavailable", err)
	}
}

func head(kind byte, flags uint16, stream, length uint32) []byte {
	b := []byte{0, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, length)
}

func TestGuard(t *testing.T) {
	data := append(head(typeData, 0, 1, 5), "hello"...)
	for _, tc := range []struct {
		name string
		in   []byte
		bad  string // in the error; empty: all passes
	}{
		{"data", bytes.Repeat(data, 3), ""},
		{"empty_data", bytes.Repeat(head(typeData, 4, 1, 0), 2), ""},
		{"window", head(typeWindow, 2, 1, 256<<10), ""},
		{"ping_answer", head(typePing, 2, 0, 7), ""},
		{"go_away", head(typeGoAway, 0, 0, 0), ""},
		{"half_a_head", data[:7], ""},
		{"half_a_body", data[:14], ""},
		{"ping", append(bytes.Clone(data), head(typePing, flagSYN, 0, 7)...), "ping"},
		{"open_by_data", head(typeData, flagSYN, 2, 0), "opened"},
		{"open_by_window", head(typeWindow, flagSYN|2, 2, 0), "opened"},
		{"type", head(9, 0, 0, 0), "type 9"},
		{"version", append([]byte{1}, head(0, 0, 0, 0)[1:]...), "version 1"},
	} {
		for how, r := range map[string]io.Reader{
			"whole": bytes.NewReader(tc.in), "bytes": iotest.OneByteReader(bytes.NewReader(tc.in)),
		} {
			t.Run(tc.name+"_"+how, func(t *testing.T) {
				got, err := io.ReadAll(&guard{r: r})
				if tc.bad == "" {
					want := tc.in
					if len(want) < headerSize {
						want = nil
					}
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("passed %x, %v, want %x", got, err, want)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), tc.bad) {
					t.Errorf("err = %v, want %q", err, tc.bad)
				}
			})
		}
	}
}

func TestClient_GuestBreaksProtocol(t *testing.T) {
	host, guest := net.Pipe()
	defer guest.Close()
	c, err := New(host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.Copy(io.Discard, guest) }()
	if _, err := guest.Write(head(typeWindow, flagSYN, 2, 0)); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "opened a mux stream") {
		t.Errorf("Err() = %v", err)
	}
}

// FuzzClient lets a guest say whatever it likes: nothing may hang or panic, and no
// stream may come out of it.
func FuzzClient(f *testing.F) {
	f.Add(append(head(typeData, 2, 1, 5), "hello"...))
	f.Add(head(typeWindow, flagSYN, 2, 0))
	f.Add(head(typeGoAway, 0, 0, 2))
	f.Add(bytes.Repeat(head(typeWindow, 0, 1, 0xffffffff), 3))
	f.Fuzz(func(t *testing.T, in []byte) {
		host, guest := net.Pipe()
		c, err := New(host)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, guest) }()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		conn, err := c.Dial(ctx, 7)
		_, _ = guest.Write(in)
		_ = guest.Close()
		if err == nil {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
		_ = c.Close()
	})
}
