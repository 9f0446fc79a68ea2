package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"k8s.io/streaming/pkg/httpstream"
)

func execURL(t *testing.T, s *Server, q Request) string {
	t.Helper()
	u, err := s.ExecURL(q)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestExec(t *testing.T) {
	s := start(t, Config{Logger: testLogger(t)}, newFakeExecutor())
	tests := []struct {
		name           string
		q              Request
		stdin          string
		stdout, stderr string
		code, message  string
	}{
		{name: "outputs", q: Request{Cmd: []string{"both"}, Stdout: true, Stderr: true}, stdout: "to stdout", stderr: "to stderr", code: "0"},
		{name: "half_close", q: Request{Cmd: []string{"cat"}, Stdin: true, Stdout: true}, stdin: strings.Repeat("0123456789", 100000), stdout: strings.Repeat("0123456789", 100000), code: "0"},
		{name: "exit_code", q: Request{Cmd: []string{"exit", "42"}, Stdout: true}, code: "42"},
		{name: "signal_code", q: Request{Cmd: []string{"exit", "137"}, Stdout: true}, code: "137"},
		{name: "unread_input", q: Request{Cmd: []string{"flood"}, Stdin: true, Stdout: true}, stdin: strings.Repeat("x", 1000), stdout: strings.Repeat("\x00", 4<<20), code: "7"},
		{name: "only_asked", q: Request{Cmd: []string{"streams"}, Stdout: true}, stdout: `{"resize":false,"stderr":false,"stdin":false,"tty":false}` + "\n", code: "0"},
		{name: "terminal", q: Request{Cmd: []string{"streams"}, Stdin: true, Stdout: true, TTY: true}, stdout: `{"resize":true,"stderr":false,"stdin":true,"tty":true}` + "\n", code: "0"},
		{name: "no_container", q: Request{ContainerID: "other", Cmd: []string{"both"}, Stdout: true}, message: "container other is not there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.q.ContainerID == "" {
				tt.q.ContainerID = "ctr"
			}
			c := dialExec(t, execURL(t, s, tt.q), tt.q)
			if c.stdin != nil {
				go func() {
					io.WriteString(c.stdin, tt.stdin)
					c.stdin.Close()
				}()
			}
			if got := readAll(t, c.stdout); got != tt.stdout {
				t.Errorf("stdout = %.100q (%d bytes), want %.100q (%d bytes)", got, len(got), tt.stdout, len(tt.stdout))
			}
			if c.stderr != nil {
				if got := readAll(t, c.stderr); got != tt.stderr {
					t.Errorf("stderr = %q, want %q", got, tt.stderr)
				}
			}
			code, message := c.wait()
			if code != tt.code || !strings.Contains(message, tt.message) {
				t.Errorf("ended with code %q, message %q, want %q, %q", code, message, tt.code, tt.message)
			}
		})
	}
}

func TestExec_Resize(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	q := Request{ContainerID: "ctr", Cmd: []string{"sizes"}, Stdout: true, TTY: true}
	c := dialExec(t, execURL(t, s, q), q)
	io.WriteString(c.resize, `{"Width":80,"Height":24}`+"\n"+`{"Width":132,"Height":50}`+"\n"+`{"Width":0,"Height":0}`+"\n")
	if got, want := readAll(t, c.stdout), "80x24\n132x50\n0x0\n"; got != want {
		t.Errorf("sizes = %q, want %q", got, want)
	}
}

func TestAttach(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	q := Request{ContainerID: "ctr", Stdin: true, Stdout: true}
	u, err := s.AttachURL(q)
	if err != nil {
		t.Fatal(err)
	}
	c := dialExec(t, u, q)
	io.WriteString(c.stdin, "hello")
	c.stdin.Close()
	if got := readAll(t, c.stdout); got != "hello" {
		t.Errorf("stdout = %q, want hello", got)
	}
	if code, message := c.wait(); code != "0" {
		t.Errorf("ended with %q, %q", code, message)
	}
}

func TestExec_ClientGoesAway(t *testing.T) {
	// 80 frames are more than the library queues, so its reader hangs at the process, and
	// fewer than the kernel takes, so that the client's end arrives.
	for _, frames := range []int{0, 80} {
		t.Run(fmt.Sprintf("unread_%d", frames), func(t *testing.T) {
			f := newFakeExecutor()
			s := start(t, Config{}, f)
			q := Request{ContainerID: "ctr", Cmd: []string{"wait"}, Stdin: true, Stdout: true}
			c := dialExec(t, execURL(t, s, q), q)
			within(t, "start", f.started)
			for range frames {
				if _, err := c.stdin.Write(make([]byte, 1024)); err != nil {
					t.Fatal(err)
				}
			}
			c.conn.socket.Close() // as the kernel does when the client is killed
			select {
			case <-f.ended:
			case <-time.After(time.Minute):
				t.Fatal("the context did not end")
			}
		})
	}
}

func forwardURL(t *testing.T, s *Server, ports ...int32) string {
	t.Helper()
	u, err := s.PortForwardURL("pod", ports)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// openPort opens a forwarded connection as kubectl does.
func openPort(t *testing.T, conn spdyConn, id, port string) (data, errs httpstream.Stream) {
	t.Helper()
	h := http.Header{"Streamtype": {"error"}, "Port": {port}, "Requestid": {id}}
	errs, err := conn.CreateStream(h)
	if err != nil {
		t.Fatal(err)
	}
	errs.Close()
	h.Set("Streamtype", "data")
	data, err = conn.CreateStream(h)
	if err != nil {
		t.Fatal(err)
	}
	return data, errs
}

func TestPortForward(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	conn := dialSPDY(t, forwardURL(t, s), "portforward.k8s.io")
	for i := range 3 {
		data, errs := openPort(t, conn, fmt.Sprint(i), "80")
		fmt.Fprintf(data, "hello %d", i)
		data.Close()
		if got, want := readAll(t, data), fmt.Sprintf("pod:80:hello %d", i); got != want {
			t.Errorf("answer = %q, want %q", got, want)
		}
		if got := readAll(t, errs); got != "" {
			t.Errorf("error = %q", got)
		}
	}
	_, errs := openPort(t, conn, "refused", "99")
	if got := readAll(t, errs); !strings.Contains(got, "connection refused") {
		t.Errorf("error = %q, want connection refused", got)
	}
}

func TestPortForward_ClientGoesAway(t *testing.T) {
	f := newFakeExecutor()
	s := start(t, Config{}, f)
	conn := dialSPDY(t, forwardURL(t, s), "portforward.k8s.io")
	openPort(t, conn, "0", "81")
	within(t, "start", f.started)
	conn.Close()
	select {
	case <-f.ended:
	case <-time.After(time.Minute):
		t.Fatal("the context did not end")
	}
}

func TestWebSocket_Exec(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	q := Request{ContainerID: "ctr", Cmd: []string{"both"}, Stdout: true, Stderr: true}
	got := hear(t, dialChannels(t, execURL(t, s, q), "v4.channel.k8s.io"))
	if got[1] != "to stdout" || got[2] != "to stderr" {
		t.Errorf("got %q", got)
	}
	if code, _ := parseStatus(t, got[3]); code != "0" {
		t.Errorf("code = %q, want 0", code)
	}
	q.Cmd = []string{"exit", "3"}
	got = hear(t, dialChannels(t, execURL(t, s, q), "v4.channel.k8s.io"))
	if code, _ := parseStatus(t, got[3]); code != "3" {
		t.Errorf("code = %q, want 3", code)
	}
}

func TestWebSocket_ClientGoesAway(t *testing.T) {
	f := newFakeExecutor()
	s := start(t, Config{}, f)
	q := Request{ContainerID: "ctr", Cmd: []string{"wait"}, Stdin: true, Stdout: true}
	ws := dialChannels(t, execURL(t, s, q), "v4.channel.k8s.io")
	within(t, "start", f.started)
	ws.Close()
	select {
	case <-f.ended:
	case <-time.After(time.Minute):
		t.Fatal("the context did not end")
	}
}

func TestWebSocket_PortForward(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	got := hear(t, dialChannels(t, forwardURL(t, s, 99), "v4.channel.k8s.io"))
	if got[0] != "\x63\x00" || !strings.Contains(got[1], "connection refused") {
		t.Errorf("got %q, want port 99 and its error", got)
	}
}

func TestServe_EndsCalls(t *testing.T) {
	f := newFakeExecutor()
	s := start(t, Config{}, f)
	q := Request{ContainerID: "ctr", Cmd: []string{"wait"}, Stdout: true}
	c := dialExec(t, execURL(t, s, q), q)
	within(t, "start of exec", f.started)
	openPort(t, dialSPDY(t, forwardURL(t, s), "portforward.k8s.io"), "0", "81")
	within(t, "start of port-forward", f.started)
	s.Close()
	for range 2 {
		if err := <-f.ended; !errdefs.IsUnavailable(err) {
			t.Errorf("cause = %v, want Unavailable", err)
		}
	}
	if _, message := c.wait(); !strings.Contains(message, "context canceled") {
		t.Errorf("message = %q: the client was not told", message)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(s.URL(), "http://"), time.Second); err == nil {
		t.Error("the server still listens")
	}
}

func TestServe_BoundsItsEnd(t *testing.T) {
	f := newFakeExecutor()
	s, err := New(Config{CloseTimeout: 50 * time.Millisecond}, f)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- s.Serve(ctx) }()
	q := Request{ContainerID: "ctr", Cmd: []string{"deaf"}, Stdout: true}
	dialExec(t, execURL(t, s, q), q)
	within(t, "start", f.started)
	cancel()
	if err := <-served; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve() = %v, want DeadlineExceeded", err)
	}
	f.ended <- nil
	<-s.calls.idle
}

func TestClose_WithoutServe(t *testing.T) {
	s, err := New(Config{}, newFakeExecutor())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := s.Serve(t.Context()); err != nil {
		t.Errorf("Serve after Close = %v, want nil", err)
	}
}

func TestExec_ClientOpensNoStreams(t *testing.T) {
	s := start(t, Config{CreationTimeout: 20 * time.Millisecond}, newFakeExecutor())
	q := Request{ContainerID: "ctr", Cmd: []string{"cat"}, Stdin: true, Stdout: true}
	conn := dialSPDY(t, execURL(t, s, q), "v4.channel.k8s.io")
	select {
	case <-conn.CloseChan():
	case <-time.After(time.Minute):
		t.Error("the server keeps the connection")
	}
}
