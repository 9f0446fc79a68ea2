package stdio

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// lineEnd is one end of a pipe, whose connection can break.
type lineEnd struct {
	net.Conn
	broken, ended atomic.Bool
}

func (e *lineEnd) Broken() bool      { return e.broken.Load() }
func (e *lineEnd) CloseWrite() error { e.ended.Store(true); return nil }

// cut ends the connection as a session's end does.
func (e *lineEnd) cut() { e.broken.Store(true); e.Conn.Close() }

func newEnd() (*lineEnd, net.Conn) {
	a, b := net.Pipe()
	return &lineEnd{Conn: a}, b
}

func readAll(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b, err, want)
	}
}

// TestJoint_Output: what a process writes while there is no host waits for the next one.
func TestJoint_Output(t *testing.T) {
	first, host := newEnd()
	j := NewJoint(first)
	src, process := io.Pipe()
	done := make(chan struct{})
	go func() { Output(j, src); close(done) }()
	go func() { io.WriteString(process, "one") }()
	readAll(t, host, "one")
	first.cut()
	wrote := make(chan struct{})
	go func() { io.WriteString(process, "two"); close(wrote) }()
	second, host := newEnd()
	j.Rejoin(second)
	readAll(t, host, "two")
	<-wrote
	process.Close()
	<-done
	if !second.ended.Load() {
		t.Error("the end of the output was not told")
	}
}

// TestJoint_Input: a host that is gone does not end a process's input, one that ends it does.
func TestJoint_Input(t *testing.T) {
	first, _ := newEnd()
	j := NewJoint(first)
	process, dst := io.Pipe()
	go Input(dst, j)
	first.cut()
	second, host := newEnd()
	go func() {
		time.Sleep(20 * time.Millisecond) // the input is waited for by then, most often
		j.Rejoin(second)
		io.WriteString(host, "again")
		host.Close()
	}()
	if b, err := io.ReadAll(process); err != nil || string(b) != "again" {
		t.Errorf("input %q, %v", b, err)
	}
}

func TestJoint_Ends(t *testing.T) {
	t.Run("stream", func(t *testing.T) { // its own end is told
		s, host := newEnd()
		j := NewJoint(s)
		host.Close()
		if _, err := j.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("Read() = %v, want EOF", err)
		}
	})
	t.Run("closed_while_broken", func(t *testing.T) {
		s, _ := newEnd()
		j := NewJoint(s)
		s.cut()
		read := make(chan error)
		go func() { _, err := j.Read(make([]byte, 1)); read <- err }()
		j.Close()
		if err := <-read; err == nil {
			t.Error("Read() = nil after Close")
		}
		late, _ := newEnd()
		j.Rejoin(late)
		if _, err := late.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("a stream for a Joint that is closed is open: %v", err)
		}
	})
	t.Run("ended_before", func(t *testing.T) { // the next one hears of it
		s, _ := newEnd()
		j := NewJoint(s)
		j.CloseWrite()
		s.cut()
		next, _ := newEnd()
		j.Rejoin(next)
		if !next.ended.Load() {
			t.Error("CloseWrite was not told to the next stream")
		}
	})
}
