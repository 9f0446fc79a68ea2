package streaming

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// tunnel is a client's SPDY connection through a WebSocket.
func tunnel(t *testing.T, target string) spdyConn {
	t.Helper()
	ws := dialChannels(t, target, "SPDY/3.1+portforward.k8s.io")
	conn, err := spdy.NewClientConnection(&tunnelConn{Conn: ws.NetConn(), ws: ws})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return spdyConn{conn, ws.NetConn()}
}

func TestTunnel_PortForward(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	conn := tunnel(t, forwardURL(t, s))
	long := strings.Repeat("0123456789", 10_000)
	for i := range 3 {
		data, errs := openPort(t, conn, fmt.Sprint(i), "80")
		fmt.Fprintf(data, "hello %d %s", i, long)
		data.Close()
		if got, want := readAll(t, data), fmt.Sprintf("pod:80:hello %d %s", i, long); got != want {
			t.Errorf("answer = %.40q (%d bytes), want %.40q (%d)", got, len(got), want, len(want))
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

func TestTunnel_ClientGoesAway(t *testing.T) {
	for name, leave := range map[string]func(spdyConn) error{
		"closes": func(c spdyConn) error { return c.socket.Close() }, "ends_spdy": func(c spdyConn) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeExecutor()
			s := start(t, Config{}, f)
			conn := tunnel(t, forwardURL(t, s))
			openPort(t, conn, "0", "81")
			within(t, "start", f.started)
			if err := leave(conn); err != nil {
				t.Fatal(err)
			}
			select {
			case <-f.ended:
			case <-time.After(time.Minute):
				t.Fatal("the context did not end")
			}
		})
	}
}

func TestTunnel_TextIsRefused(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	ws := dialChannels(t, forwardURL(t, s), "SPDY/3.1+portforward.k8s.io")
	if err := ws.WriteMessage(websocket.TextMessage, []byte("no SPDY")); err != nil {
		t.Fatal(err)
	}
	if err := ws.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		_, _, err := ws.ReadMessage()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the tunnel goes on")
		}
		if err != nil {
			return
		}
	}
}
