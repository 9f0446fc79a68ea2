package streaming

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// fakeExecutor is a container with a few programs, and a pod whose ports answer.
type fakeExecutor struct {
	started chan struct{} // gets a value when "wait" or "deaf" starts
	ended   chan error    // gets what ended it
}

func newFakeExecutor() *fakeExecutor {
	return &fakeExecutor{started: make(chan struct{}, 16), ended: make(chan error, 16)}
}

func (f *fakeExecutor) Exec(ctx context.Context, id string, cmd []string, s Streams) (int, error) {
	if id != "ctr" {
		return 0, fmt.Errorf("container %s is not there", id)
	}
	switch cmd[0] {
	case "streams":
		return 0, json.NewEncoder(s.Stdout).Encode(map[string]bool{
			"stdin": s.Stdin != nil, "stderr": s.Stderr != nil, "tty": s.TTY, "resize": s.Resize != nil,
		})
	case "cat":
		_, err := io.Copy(s.Stdout, s.Stdin)
		return 0, err
	case "both":
		io.WriteString(s.Stdout, "to stdout")
		io.WriteString(s.Stderr, "to stderr")
		return 0, nil
	case "exit":
		return strconv.Atoi(cmd[1])
	case "flood": // ends with input unread and much output
		for range 256 {
			if _, err := s.Stdout.Write(make([]byte, 16<<10)); err != nil {
				return 0, err
			}
		}
		return 7, nil
	case "sizes":
		for size := range s.Resize {
			fmt.Fprintf(s.Stdout, "%dx%d\n", size.Width, size.Height)
			if size.Width == 0 {
				return 0, nil
			}
		}
		return 0, errors.New("no more sizes")
	case "wait":
		f.started <- struct{}{}
		<-ctx.Done()
		f.ended <- context.Cause(ctx)
		return 0, ctx.Err()
	case "deaf":
		f.started <- struct{}{}
		<-f.ended
		return 0, nil
	}
	return 127, nil
}

func (f *fakeExecutor) Attach(ctx context.Context, id string, s Streams) error {
	_, err := f.Exec(ctx, id, []string{"cat"}, s)
	return err
}

// PortForward answers on port 80 in capitals of a sort, once all was said.
func (f *fakeExecutor) PortForward(ctx context.Context, pod string, port uint16, conn io.ReadWriteCloser) error {
	switch port {
	case 80:
		b, err := io.ReadAll(conn)
		if err != nil {
			return err
		}
		fmt.Fprintf(conn, "%s:%d:%s", pod, port, b)
		return conn.(interface{ CloseWrite() error }).CloseWrite()
	case 81:
		f.started <- struct{}{}
		<-ctx.Done()
		f.ended <- context.Cause(ctx)
		return ctx.Err()
	}
	return errors.New("connection refused")
}

// start serves until the test ends, and checks the end.
func start(t *testing.T, c Config, e Executor) *Server {
	t.Helper()
	s, err := New(c, e)
	if err != nil {
		t.Fatal(err)
	}
	s.watchInterval = 20 * time.Millisecond
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(t.Context()); err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		served.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.open) > 0 {
			t.Errorf("%d connections are left", len(s.open))
		}
	})
	return s
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// client is the client's side of an exec or attach over SPDY.
type client struct {
	t                     *testing.T
	conn                  spdyConn
	stdin, stdout, stderr httpstream.Stream
	status, resize        httpstream.Stream
}

// spdyConn is a client's connection, with the socket beneath.
type spdyConn struct {
	httpstream.Connection
	socket net.Conn
}

// dialSPDY upgrades a connection to a URL.
func dialSPDY(t *testing.T, target string, protocol string) spdyConn {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	req.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	req.Header.Set(httpstream.HeaderProtocolVersion, protocol)
	socket, err := net.Dial("tcp", req.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	if req.URL.Scheme == "https" {
		socket = tls.Client(socket, clientTLS)
	}
	t.Cleanup(func() { socket.Close() })
	if err := req.Write(socket); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(socket), req) // the server waits for streams
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get(httpstream.HeaderProtocolVersion) != protocol {
		t.Fatalf("upgrade: %s, %v", resp.Status, resp.Header)
	}
	conn, err := spdy.NewClientConnection(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return spdyConn{conn, socket}
}

func dialExec(t *testing.T, target string, q Request) *client {
	t.Helper()
	c := &client{t: t, conn: dialSPDY(t, target, "v4.channel.k8s.io")}
	c.status = c.stream("error")
	if q.Stdin {
		c.stdin = c.stream("stdin")
	}
	if q.Stdout {
		c.stdout = c.stream("stdout")
	}
	if q.Stderr {
		c.stderr = c.stream("stderr")
	}
	if q.TTY {
		c.resize = c.stream("resize")
	}
	return c
}

func (c *client) stream(kind string) httpstream.Stream {
	c.t.Helper()
	st, err := c.conn.CreateStream(http.Header{"Streamtype": {kind}})
	if err != nil {
		c.t.Fatalf("create %s: %v", kind, err)
	}
	return st
}

// status is what the server says at the end.
type status struct {
	Status, Message, Reason string
	Details                 struct {
		Causes []struct{ Reason, Message string }
	}
}

// wait returns the exit code, and a message when there is none.
func (c *client) wait() (code string, message string) {
	c.t.Helper()
	return parseStatus(c.t, readAll(c.t, c.status))
}

func parseStatus(t *testing.T, b string) (code string, message string) {
	t.Helper()
	var st status
	if err := json.Unmarshal([]byte(b), &st); err != nil {
		t.Fatalf("status %q: %v", b, err)
	}
	switch {
	case st.Status == "Success":
		return "0", ""
	case st.Reason == "NonZeroExitCode" && len(st.Details.Causes) == 1 && st.Details.Causes[0].Reason == "ExitCode":
		return st.Details.Causes[0].Message, ""
	}
	return "", st.Message
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}

func within(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not within 10 s", what)
	}
}
