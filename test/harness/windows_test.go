package harness

import (
	"io"
	"net"
	"os"
	"os/exec"
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

// TestAwaitClosed: a file that another process has open is waited for, no longer than is allowed. One that it began
// with is not.
func TestAwaitClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hold := func(as func(*exec.Cmd)) *exec.Cmd {
		t.Helper()
		cmd := exec.Command("sleep", "3600")
		as(cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		})
		return cmd
	}
	hold(func(c *exec.Cmd) { c.Stderr = f })
	if err := awaitClosed(path, "sleep", 20*time.Millisecond); err != nil {
		t.Errorf("a file that a process began with: %v", err)
	}
	holder := hold(func(c *exec.Cmd) { c.ExtraFiles = []*os.File{f} })
	if err := awaitClosed(path, "sleep", 20*time.Millisecond); err == nil {
		t.Error("a file that is open is said to be closed")
	}
	waited := make(chan error)
	go func() { waited <- awaitClosed(path, "sleep", time.Minute) }()
	_ = holder.Process.Kill()
	_ = holder.Wait() // it was killed
	if err := <-waited; err != nil {
		t.Error(err)
	}
}
