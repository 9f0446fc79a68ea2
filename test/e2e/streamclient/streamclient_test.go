// Package streamclient speaks to a streaming server with the clients of Kubernetes: those
// that kubectl and crictl are made of. No VM is needed.
package streamclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/porthole-run/porthole/streaming"
)

// program is a container with a few programs and a pod whose port 80 answers.
type program struct{}

func (program) Exec(_ context.Context, _ string, cmd []string, s streaming.Streams) (int, error) {
	switch cmd[0] {
	case "cat":
		_, err := io.Copy(s.Stdout, s.Stdin)
		return 0, err
	case "exit":
		fmt.Fprint(s.Stdout, "out")
		fmt.Fprint(s.Stderr, "err")
		return 42, nil
	case "sizes":
		for size := range s.Resize {
			fmt.Fprintf(s.Stdout, "%dx%d ", size.Width, size.Height)
			if size.Width == 0 {
				break
			}
		}
		return 0, nil
	case "flood":
		for range 1000 {
			if _, err := s.Stdout.Write(bytes.Repeat([]byte("x"), 40_000)); err != nil {
				return 0, err
			}
		}
		return 0, nil
	}
	return 0, errors.New("no such program")
}

func (p program) Attach(ctx context.Context, id string, s streaming.Streams) error {
	_, err := p.Exec(ctx, id, []string{"cat"}, s)
	return err
}

func (program) PortForward(_ context.Context, _ string, port uint16, conn io.ReadWriteCloser) error {
	if port != 80 {
		return errors.New("connection refused")
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	slices.Reverse(b)
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return conn.(interface{ CloseWrite() error }).CloseWrite()
}

func serve(t *testing.T) *streaming.Server {
	t.Helper()
	s, err := streaming.New(streaming.Config{}, program{})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(t.Context()); err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		served.Wait()
	})
	return s
}

// transports are the ways to a URL.
var transports = map[string]struct {
	executor func(u *url.URL) (remotecommand.Executor, error)
	dialer   func(u *url.URL) (httpstream.Dialer, error)
}{
	"spdy": {
		func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(&rest.Config{}, "POST", u)
		},
		func(u *url.URL) (httpstream.Dialer, error) {
			tr, upgrader, err := spdy.RoundTripperFor(&rest.Config{})
			if err != nil {
				return nil, err
			}
			return spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: tr}, "POST", u), nil
		},
	},
	"websocket": {
		func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(&rest.Config{}, "GET", u.String())
		},
		func(u *url.URL) (httpstream.Dialer, error) {
			return portforward.NewSPDYOverWebsocketDialerForStreaming(u, &rest.Config{})
		},
	},
	"websocket_v4": {
		executor: func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutorForProtocols(&rest.Config{}, "GET", u.String(), "v4.channel.k8s.io")
		},
	},
}

// sizes is a terminal whose size changes as told.
type sizes []remotecommand.TerminalSize

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(*s) == 0 {
		return nil
	}
	size := (*s)[0]
	*s = (*s)[1:]
	return &size
}

func TestExec(t *testing.T) {
	s := serve(t)
	long := strings.Repeat("0123456789", 200_000)
	tests := []struct {
		name   string
		q      streaming.Request
		attach bool
		closes bool // needs a protocol that closes stdin
		stdin  string
		sizes  sizes
		want   string
		stderr string
		code   int
	}{
		{name: "half_close", q: streaming.Request{Cmd: []string{"cat"}, Stdin: true, Stdout: true}, closes: true, stdin: long, want: long},
		{name: "attach", q: streaming.Request{Stdin: true, Stdout: true}, attach: true, closes: true, stdin: "hello", want: "hello"},
		{name: "exit_code", q: streaming.Request{Cmd: []string{"exit"}, Stdout: true, Stderr: true}, want: "out", stderr: "err", code: 42},
		{name: "resize", q: streaming.Request{Cmd: []string{"sizes"}, Stdin: true, Stdout: true, TTY: true},
			sizes: sizes{{Width: 80, Height: 24}, {Width: 132, Height: 50}, {}}, want: "80x24 132x50 0x0 "},
		{name: "flood", q: streaming.Request{Cmd: []string{"flood"}, Stdout: true}, want: strings.Repeat("x", 40_000_000)},
	}
	for name, tr := range transports {
		for _, tt := range tests {
			if tt.closes && name == "websocket_v4" {
				continue
			}
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				tt.q.ContainerID = "ctr"
				text, err := s.ExecURL(tt.q)
				if tt.attach {
					text, err = s.AttachURL(tt.q)
				}
				if err != nil {
					t.Fatal(err)
				}
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				e, err := tr.executor(u)
				if err != nil {
					t.Fatal(err)
				}
				var stdout, stderr bytes.Buffer
				o := remotecommand.StreamOptions{Stdout: &stdout, Tty: tt.q.TTY, TerminalSizeQueue: &tt.sizes}
				if tt.q.Stdin {
					o.Stdin = strings.NewReader(tt.stdin)
				}
				if tt.q.Stderr {
					o.Stderr = &stderr
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = e.StreamWithContext(ctx, o)
				var exit utilexec.CodeExitError
				if errors.As(err, &exit) && exit.Code == tt.code {
					err = nil
				}
				if err != nil || tt.code != exit.Code {
					t.Errorf("ended with %v, want exit code %d", err, tt.code)
				}
				if got := stdout.String(); got != tt.want || stderr.String() != tt.stderr {
					t.Errorf("stdout %.50q (%d bytes), stderr %q, want %.50q (%d bytes), %q", got, len(got), &stderr, tt.want, len(tt.want), tt.stderr)
				}
			})
		}
	}
}

func TestPortForward(t *testing.T) {
	s := serve(t)
	for name, tr := range transports {
		if tr.dialer == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, err := s.PortForwardURL("pod", nil)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			dialer, err := tr.dialer(u)
			if err != nil {
				t.Fatal(err)
			}
			stop, ready := make(chan struct{}), make(chan struct{})
			f, err := portforward.NewForStreaming(dialer, []string{"0:80"}, stop, ready, io.Discard, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			var forwards sync.WaitGroup
			forwards.Go(func() {
				if err := f.ForwardPorts(); err != nil {
					t.Errorf("ForwardPorts() = %v", err)
				}
			})
			defer forwards.Wait()
			defer close(stop)
			<-ready
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			long := bytes.Repeat([]byte("0123456789"), 100_000)
			want := slices.Clone(long)
			slices.Reverse(want)
			var conns sync.WaitGroup
			for range 4 {
				conns.Go(func() {
					c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					if _, err := c.Write(long); err != nil {
						t.Error(err)
					}
					if err := c.(*net.TCPConn).CloseWrite(); err != nil {
						t.Error(err)
					}
					if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, %v, want %d that are right", len(got), err, len(want))
					}
				})
			}
			conns.Wait()
		})
	}
}
