package harness

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestRelayCut: a server that has ended and keeps its sockets is left, and the one after it reached.
func TestRelayCut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var kept []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			kept = append(kept, c)
			wg.Go(func() { _, _ = io.Copy(c, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		for _, c := range kept {
			c.Close()
		}
		wg.Wait()
	})
	socket := filepath.Join(t.TempDir(), "s")
	r, err := startRelay(socket, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 2)
		if _, err := c.Write([]byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hi" {
			t.Fatalf("through the relay: %q, %v", b, err)
		}
		return c
	}
	c := dial()
	r.cut()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read after the cut: %d bytes, %v, want the end", n, err)
	}
	dial()
}
