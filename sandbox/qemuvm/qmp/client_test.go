package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

const greeting = `{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}`

// server is a fake QEMU. Commands are answered by handle, which may say anything.
type server struct {
	conn net.Conn

	mu   sync.Mutex
	seen []string // commands in order, with their arguments
}

type incoming struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// answer is what servers mostly do.
func answer(c incoming) string { return fmt.Sprintf(`{"return": {}, "id": %d}`, c.ID) }

func (s *server) say(line string) { _, _ = io.WriteString(s.conn, line+"\r\n") }

func (s *server) commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

// serve starts a server; it ends with the connection.
func serve(t *testing.T, handle func(s *server, c incoming)) (*server, net.Conn) {
	t.Helper()
	client, conn := net.Pipe()
	s := &server{conn: conn}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer conn.Close()
		s.say(greeting)
		in := bufio.NewScanner(conn)
		for in.Scan() {
			var c incoming
			if json.Unmarshal(in.Bytes(), &c) != nil {
				return
			}
			s.mu.Lock()
			s.seen = append(s.seen, c.Execute+string(c.Arguments))
			s.mu.Unlock()
			if c.Execute == "qmp_capabilities" {
				s.say(answer(c))
				continue
			}
			handle(s, c)
		}
	})
	t.Cleanup(func() {
		_ = client.Close()
		_ = conn.Close()
		wg.Wait()
	})
	return s, client
}

func connect(t *testing.T, conn Conn, onEvent func(Event)) *Client {
	t.Helper()
	if onEvent == nil {
		onEvent = func(Event) {}
	}
	c, err := New(t.Context(), conn, onEvent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClient_Run(t *testing.T) {
	s, conn := serve(t, func(s *server, c incoming) {
		s.say(fmt.Sprintf(`{"return": {"status": "running"}, "id": %d}`, c.ID))
	})
	c := connect(t, conn, nil)
	got, err := c.Run(t.Context(), "query-status", map[string]int{"n": 1})
	if err != nil || string(got) != `{"status": "running"}` {
		t.Errorf("Run() = %s, %v", got, err)
	}
	want := []string{"qmp_capabilities", `query-status{"n":1}`}
	if diff := cmp.Diff(want, s.commands()); diff != "" {
		t.Errorf("commands differ (-want +got):\n%s", diff)
	}
}

func TestClient_Refusal(t *testing.T) {
	_, conn := serve(t, func(s *server, c incoming) {
		s.say(fmt.Sprintf(`{"error": {"class": "GenericError", "desc": "no\u001b[31m way"}, "id": %d}`, c.ID))
	})
	c := connect(t, conn, nil)
	_, err := c.Run(t.Context(), "device_add", nil)
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Error() != "qmp device_add: no·[31m way" {
		t.Errorf("Run() = %v", err)
	}
}

// TestClient_DoPipelines: the server answers none before it has all, and in its own order.
func TestClient_DoPipelines(t *testing.T) {
	var held []incoming
	_, conn := serve(t, func(s *server, c incoming) {
		if held = append(held, c); len(held) < 3 {
			return
		}
		s.say(fmt.Sprintf(`{"return": "third", "id": %d}`, held[2].ID))
		s.say(fmt.Sprintf(`{"error": {"class": "X", "desc": "second"}, "id": %d}`, held[1].ID))
		s.say(fmt.Sprintf(`{"return": "first", "id": %d}`, held[0].ID))
	})
	c := connect(t, conn, nil)
	r := c.Do(t.Context(), Command{Name: "a"}, Command{Name: "b"}, Command{Name: "c"})
	if string(r[0].Value) != `"first"` || r[1].Err == nil || string(r[2].Value) != `"third"` {
		t.Errorf("Do() = %+v", r)
	}
}

func TestClient_Events(t *testing.T) {
	_, conn := serve(t, func(s *server, c incoming) {
		s.say(`{"event": "ONE", "data": {"id": "x"}, "timestamp": {"seconds": 1}}`)
		s.say(`{"event": "TWO"}`)
		s.say(answer(c))
	})
	var got []string
	c := connect(t, conn, func(e Event) { got = append(got, e.Name+string(e.Data)) })
	if _, err := c.Run(t.Context(), "x", nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`ONE{"id": "x"}`, "TWO"}, got); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

// TestClient_Untrusted: what a taken-over QEMU might say ends the connection, and the
// command that waits gets an error.
func TestClient_Untrusted(t *testing.T) {
	for name, line := range map[string]string{
		"not_json":         `hello`,
		"unknown_id":       `{"return": {}, "id": 99}`,
		"no_id":            `{"return": {}}`,
		"text_id":          `{"return": {}, "id": "one"}`,
		"refusal_no_id":    `{"error": {"class": "GenericError", "desc": "bad"}}`,
		"two_kinds":        `{"return": {}, "event": "X", "id": 1}`,
		"no_kind":          `{}`,
		"second_greeting":  greeting,
		"line_of_no_end":   `{"event": "` + strings.Repeat("x", MaxLine),
		"error_is_a_text":  `{"error": "bad", "id": 2}`,
		"answered_already": `{"return": {}, "id": 1}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, conn := serve(t, func(s *server, c incoming) { s.say(line) })
			c := connect(t, conn, nil)
			if _, err := c.Run(t.Context(), "x", nil); !errdefs.IsUnavailable(err) {
				t.Errorf("Run() = %v, want Unavailable", err)
			}
			<-c.Done()
			if c.Err() == nil {
				t.Error("Err() = nil after the connection ended")
			}
			if _, err := c.Run(t.Context(), "y", nil); !errdefs.IsUnavailable(err) {
				t.Errorf("Run() on an ended connection = %v, want Unavailable", err)
			}
		})
	}
}

func TestClient_Hangup(t *testing.T) {
	_, conn := serve(t, func(s *server, c incoming) { _ = s.conn.Close() })
	c := connect(t, conn, nil)
	r := c.Do(t.Context(), Command{Name: "a"}, Command{Name: "b"})
	for i := range r {
		if !errdefs.IsUnavailable(r[i].Err) {
			t.Errorf("Do()[%d] = %v, want Unavailable", i, r[i].Err)
		}
	}
}

func TestClient_NoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conn := serve(t, func(*server, incoming) {})
		c := connect(t, conn, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Run(ctx, "x", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run() = %v, want DeadlineExceeded", err)
		}
	})
}

func TestClient_LateAnswer(t *testing.T) {
	late := make(chan incoming, 1)
	s, conn := serve(t, func(s *server, c incoming) {
		if c.Execute == "slow" {
			late <- c
			return
		}
		s.say(answer(<-late))
		s.say(answer(c))
	})
	_ = s
	c := connect(t, conn, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Run(ctx, "slow", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Run() = %v, want DeadlineExceeded", err)
	}
	if _, err := c.Run(t.Context(), "next", nil); err != nil {
		t.Errorf("Run() after a late answer = %v", err)
	}
}

func TestNew_NoGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, conn := net.Pipe()
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := New(ctx, client, func(Event) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("New() = %v, want DeadlineExceeded", err)
		}
	})
}

func TestNew_Hangup(t *testing.T) {
	client, conn := net.Pipe()
	_ = conn.Close()
	if _, err := New(t.Context(), client, func(Event) {}); !errdefs.IsUnavailable(err) {
		t.Errorf("New() = %v, want Unavailable", err)
	}
}

// TestClient_WriteBlocked: a QEMU that does not read cannot hold a caller.
func TestClient_WriteBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		_, conn := serve(t, func(s *server, c incoming) { <-stop })
		c := connect(t, conn, nil)
		defer close(stop)
		for range 2 { // the first is read, the second is not
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := c.Run(ctx, "x", nil)
			cancel()
			if err == nil {
				t.Error("Run() without an answer succeeded")
			}
		}
		if _, err := c.Run(t.Context(), "y", nil); err == nil {
			t.Error("Run() after half a line was written succeeded")
		}
	})
}

func TestClient_FileNotSupported(t *testing.T) {
	_, conn := serve(t, func(s *server, c incoming) { s.say(answer(c)) })
	c := connect(t, conn, nil)
	if r := c.Do(t.Context(), Command{Name: "add-fd", File: os.Stdin}); !errors.Is(r[0].Err, errors.ErrUnsupported) {
		t.Errorf("Do() with a file = %v, want ErrUnsupported", r[0].Err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		greeting, `{"return": {}, "id": 1}`, `{"error": {"class": "a", "desc": "b"}, "id": 2}`,
		`{"event": "X", "data": {}}`, `{}`, `[]`, `{"id": -1}`, `{"return": null}`, "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parse(line)
		if err == nil && m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
			t.Errorf("parse(%q) is nothing", line)
		}
	})
}

// FuzzClient feeds a client whatever bytes: it must end, never hang.
func FuzzClient(f *testing.F) {
	f.Add([]byte(greeting + "\n" + `{"return": {}, "id": 1}` + "\n"))
	f.Add([]byte(greeting + "\n" + `{"event": "X"}` + "\n\n" + `{"return": {}, "id": 1}` + "\n" + `{"id": 2}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		client, conn := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		go func() {
			_, _ = conn.Write(in)
			_ = conn.Close()
		}()
		c, err := New(t.Context(), client, func(Event) {})
		if err != nil {
			return
		}
		<-c.Done()
		_ = c.Close()
	})
}
