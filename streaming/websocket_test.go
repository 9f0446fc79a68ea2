package streaming

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// dialChannels upgrades to a WebSocket that takes one protocol.
func dialChannels(t *testing.T, target, protocol string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{protocol}, WriteBufferSize: 4 << 10}
	ws, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(target, "http"), nil)
	if err != nil {
		t.Fatalf("dial: %v, %+v", err, resp)
	}
	t.Cleanup(func() { ws.Close() })
	if ws.Subprotocol() != protocol {
		t.Fatalf("protocol %q, want %q", ws.Subprotocol(), protocol)
	}
	return ws
}

func say(t *testing.T, ws *websocket.Conn, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := ws.WriteMessage(websocket.BinaryMessage, []byte(m)); err != nil {
			t.Fatalf("write %.20q: %v", m, err)
		}
	}
}

// hear collects what comes on each channel until the server says goodbye.
func hear(t *testing.T, ws *websocket.Conn) map[byte]string {
	t.Helper()
	got := map[byte]*bytes.Buffer{}
	for {
		_, m, err := ws.ReadMessage()
		if err != nil {
			if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				t.Errorf("read: %v, want a normal close", err)
			}
			break
		}
		if got[m[0]] == nil {
			got[m[0]] = new(bytes.Buffer)
		}
		got[m[0]].Write(m[1:])
	}
	text := map[byte]string{}
	for n, b := range got {
		text[n] = b.String()
	}
	return text
}

func TestChannels_Exec(t *testing.T) {
	s := start(t, Config{Logger: testLogger(t)}, newFakeExecutor())
	long := strings.Repeat("0123456789", 100_000)
	tests := []struct {
		name          string
		protocol      string
		q             Request
		say           []string
		stdout        string
		stderr        string
		code, message string
	}{
		{name: "outputs", q: Request{Cmd: []string{"both"}, Stdout: true, Stderr: true}, stdout: "to stdout", stderr: "to stderr", code: "0"},
		{name: "only_asked", q: Request{Cmd: []string{"streams"}, Stdout: true}, stdout: `{"resize":false,"stderr":false,"stdin":false,"tty":false}` + "\n", code: "0"},
		{name: "terminal", q: Request{Cmd: []string{"streams"}, Stdin: true, Stdout: true, TTY: true}, stdout: `{"resize":true,"stderr":false,"stdin":true,"tty":true}` + "\n", code: "0"},
		{name: "half_close", q: Request{Cmd: []string{"cat"}, Stdin: true, Stdout: true}, say: []string{"\x00one ", "\x00two", "\xff\x00"}, stdout: "one two", code: "0"},
		{name: "closed_twice", q: Request{Cmd: []string{"cat"}, Stdin: true, Stdout: true}, say: []string{"\x00one", "\xff\x00", "\x00more", "\xff\x00"}, stdout: "one", code: "0"},
		// One message in many frames: the client's buffer is smaller.
		{name: "many_frames", q: Request{Cmd: []string{"cat"}, Stdin: true, Stdout: true}, say: []string{"\x00" + long, "\xff\x00"}, stdout: long, code: "0"},
		{name: "unread_input", q: Request{Cmd: []string{"flood"}, Stdin: true, Stdout: true}, say: []string{"\x00" + long[:1000]}, stdout: strings.Repeat("\x00", 4<<20), code: "7"},
		{name: "nonsense", q: Request{Cmd: []string{"cat"}, Stdin: true, Stdout: true}, say: []string{"", "\xff", "\xff\x09", "\x01out", "\x09no", "\x04{", "\x00in", "\xff\x00"}, stdout: "in", code: "0"},
		{name: "unasked_input", q: Request{Cmd: []string{"both"}, Stdout: true, Stderr: true}, say: []string{"\x00in", "\xff\x00"}, stdout: "to stdout", stderr: "to stderr", code: "0"},
		{name: "exit_code", q: Request{Cmd: []string{"exit", "42"}, Stdout: true}, code: "42"},
		{name: "no_output", q: Request{Cmd: []string{"exit", "3"}, Stdin: true}, code: "3"},
		{name: "no_container", q: Request{ContainerID: "other", Cmd: []string{"both"}, Stdout: true}, message: "container other is not there"},
		{name: "v4_outputs", protocol: channelsV4, q: Request{Cmd: []string{"both"}, Stdout: true, Stderr: true}, stdout: "to stdout", stderr: "to stderr", code: "0"},
		{name: "v4_exit_code", protocol: channelsV4, q: Request{Cmd: []string{"exit", "42"}, Stdout: true}, code: "42"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.q.ContainerID == "" {
				tt.q.ContainerID = "ctr"
			}
			if tt.protocol == "" {
				tt.protocol = channelsV5
			}
			ws := dialChannels(t, execURL(t, s, tt.q), tt.protocol)
			say(t, ws, tt.say...)
			got := hear(t, ws)
			if got[1] != tt.stdout || got[2] != tt.stderr {
				t.Errorf("stdout %.100q (%d bytes), stderr %q, want %.100q (%d bytes), %q", got[1], len(got[1]), got[2], tt.stdout, len(tt.stdout), tt.stderr)
			}
			code, message := parseStatus(t, got[3])
			if code != tt.code || !strings.Contains(message, tt.message) {
				t.Errorf("ended with code %q, message %q, want %q, %q", code, message, tt.code, tt.message)
			}
		})
	}
}

// TestEndStatus_AsTheLibrary holds the words of the end against those of SPDY clients.
func TestEndStatus_AsTheLibrary(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	for _, q := range []Request{
		{ContainerID: "ctr", Cmd: []string{"exit", "0"}, Stdout: true},
		{ContainerID: "ctr", Cmd: []string{"exit", "42"}, Stdout: true},
		{ContainerID: "other", Cmd: []string{"exit", "0"}, Stdout: true},
	} {
		want := readAll(t, dialExec(t, execURL(t, s, q), q).status)
		if got := hear(t, dialChannels(t, execURL(t, s, q), channelsV5))[3]; got != want {
			t.Errorf("%v: status %s, over SPDY %s", q.Cmd, got, want)
		}
	}
}

func TestChannels_Attach(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	u, err := s.AttachURL(Request{ContainerID: "ctr", Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	ws := dialChannels(t, u, channelsV5)
	say(t, ws, "\x00hello", "\xff\x00")
	got := hear(t, ws)
	if code, _ := parseStatus(t, got[3]); got[1] != "hello" || code != "0" {
		t.Errorf("got %q", got)
	}
}

func TestChannels_Resize(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	ws := dialChannels(t, execURL(t, s, Request{ContainerID: "ctr", Cmd: []string{"sizes"}, Stdout: true, TTY: true}), channelsV5)
	say(t, ws, "\x04"+`{"Width":80,"Height":24}`, "\x04"+strings.Repeat(" ", 2*maxResize)+`{"Width":1,"Height":1}`,
		"\x04"+`{"Width":132,"Height":50}`, "\x04"+`{"Width":0,"Height":0}`)
	if got, want := hear(t, ws)[1], "80x24\n132x50\n0x0\n"; got != want {
		t.Errorf("sizes = %q, want %q", got, want)
	}
}

// TestChannels_ResizeUnwanted: nobody reads sizes without a terminal, and input goes on.
func TestChannels_ResizeUnwanted(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	ws := dialChannels(t, execURL(t, s, Request{ContainerID: "ctr", Cmd: []string{"cat"}, Stdin: true, Stdout: true}), channelsV5)
	for range 100 {
		say(t, ws, "\x04"+`{"Width":80,"Height":24}`)
	}
	say(t, ws, "\x00after", "\xff\x00")
	if got := hear(t, ws)[1]; got != "after" {
		t.Errorf("stdout = %q, want after", got)
	}
}

func TestChannels_ClientGoesAway(t *testing.T) {
	leave := map[string]func(*websocket.Conn) error{
		"closes": func(ws *websocket.Conn) error { return ws.NetConn().Close() },
		// The connection stays: the farewell alone must do.
		"says_goodbye": func(ws *websocket.Conn) error {
			return ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		},
	}
	for name, f := range leave {
		for _, unread := range []int{0, 80} {
			t.Run(fmt.Sprintf("%s_%d", name, unread), func(t *testing.T) {
				if name == "says_goodbye" && unread > 0 {
					return // it waits behind what nobody reads, as any message
				}
				e := newFakeExecutor()
				s := start(t, Config{}, e)
				ws := dialChannels(t, execURL(t, s, Request{ContainerID: "ctr", Cmd: []string{"wait"}, Stdin: true, Stdout: true}), channelsV5)
				within(t, "start", e.started)
				for range unread {
					say(t, ws, "\x00"+strings.Repeat("x", 1024))
				}
				if err := f(ws); err != nil {
					t.Fatal(err)
				}
				select {
				case <-e.ended:
				case <-time.After(time.Minute):
					t.Fatal("the context did not end")
				}
			})
		}
	}
}

// inputEnd tells what ended a command's input.
type inputEnd struct {
	*fakeExecutor
	end chan error
}

func (f inputEnd) Attach(_ context.Context, _ string, s Streams) error {
	_, err := io.Copy(io.Discard, s.Stdin)
	f.end <- err
	return nil
}

func TestChannels_CutShort(t *testing.T) {
	f := inputEnd{newFakeExecutor(), make(chan error, 1)}
	s := start(t, Config{}, f)
	for name, leave := range map[string]func(*websocket.Conn){
		"goodbye": func(ws *websocket.Conn) { _ = sayGoodbye(ws) },
		"cut":     func(ws *websocket.Conn) { ws.NetConn().Close() },
	} {
		u, err := s.AttachURL(Request{ContainerID: "ctr", Stdin: true})
		if err != nil {
			t.Fatal(err)
		}
		ws := dialChannels(t, u, channelsV5)
		say(t, ws, "\x00half")
		leave(ws)
		if err := <-f.end; err == nil {
			t.Errorf("%s: input that was cut short ended as if it were all", name)
		}
	}
}

// TestChannels_KeepAlive: a process that takes no input does not cost it its client.
func TestChannels_KeepAlive(t *testing.T) {
	e := newFakeExecutor()
	s := start(t, Config{}, e)
	s.pongInterval = 10 * time.Millisecond
	ws := dialChannels(t, execURL(t, s, Request{ContainerID: "ctr", Cmd: []string{"wait"}, Stdin: true, Stdout: true}), channelsV5)
	within(t, "start", e.started)
	heard := make(chan struct{}, 1)
	ws.SetPongHandler(func(string) error {
		select {
		case heard <- struct{}{}:
		default:
		}
		return nil
	})
	go func() {
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				return
			}
		}
	}()
	select {
	case <-heard:
		t.Error("a pong without need")
	case <-time.After(50 * time.Millisecond):
	}
	say(t, ws, "\x00nobody takes this")
	within(t, "pong", heard)
}

func TestChannels_Idle(t *testing.T) {
	e := newFakeExecutor()
	s := start(t, Config{IdleTimeout: 50 * time.Millisecond}, e)
	dialChannels(t, execURL(t, s, Request{ContainerID: "ctr", Cmd: []string{"wait"}, Stdout: true}), channelsV5)
	select {
	case <-e.ended:
	case <-time.After(time.Minute):
		t.Fatal("an idle stream goes on")
	}
}

func TestWebSocket_UnknownProtocols(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	for _, target := range []string{
		execURL(t, s, Request{ContainerID: "ctr", Cmd: []string{"both"}, Stdout: true}),
		forwardURL(t, s),
	} {
		d := websocket.Dialer{Subprotocols: []string{"v6.channel.k8s.io", "SPDY/3.1+v2.portforward.k8s.io"}}
		ws, _, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(target, "http"), nil)
		if !errors.Is(err, websocket.ErrBadHandshake) {
			t.Errorf("%s: %v, %v, want a refusal", target, ws, err)
		}
	}
}

// TestWebSocket_URLWorksOnce: the second of two clients is refused before any upgrade.
func TestWebSocket_URLWorksOnce(t *testing.T) {
	s := start(t, Config{}, newFakeExecutor())
	u := execURL(t, s, Request{ContainerID: "ctr", Cmd: []string{"exit", "0"}, Stdout: true})
	hear(t, dialChannels(t, u, channelsV5))
	d := websocket.Dialer{Subprotocols: []string{channelsV5}}
	if _, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(u, "http"), nil); err == nil || resp.StatusCode != 404 {
		t.Errorf("second use: %v, %v, want 404", resp, err)
	}
}

// FuzzChannels_Message: whatever a client sends, what is on stdin's channel arrives there
// as it is, and nothing else does.
func FuzzChannels_Message(f *testing.F) {
	for _, m := range []string{"", "\x00", "\x00input", "\x01out", "\x04{\"Width\":80,\"Height\":24}", "\x04{", "\xff", "\xff\x00", "\xff\x00more", "\xff\x07"} {
		f.Add([]byte(m), true)
		f.Add([]byte(m), false)
	}
	f.Fuzz(func(t *testing.T, m []byte, closes bool) {
		pr, pw := io.Pipe()
		c := &channels{closes: closes, stdin: pw, sizes: make(chan remotecommand.TerminalSize, 1), buf: make([]byte, 8)}
		arrived := make(chan []byte)
		go func() {
			b, err := io.ReadAll(pr)
			if err != nil {
				t.Error(err)
			}
			arrived <- b
		}()
		if err := c.message(bytes.NewReader(m)); err != nil {
			t.Errorf("message(%q) = %v", m, err)
		}
		pw.Close()
		var want []byte
		if len(m) > 0 && m[0] == 0 {
			want = m[1:]
		}
		if got := <-arrived; !bytes.Equal(got, want) {
			t.Errorf("message(%q): %q arrived, want %q", m, got, want)
		}
	})
}
