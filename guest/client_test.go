package guest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	clog "github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

func TestMain(m *testing.M) {
	clog.L.Logger.SetOutput(io.Discard) // ttrpc's lines on connections that tests break
	os.Exit(m.Run())
}

// agent is an agent whose answers tests choose. Calls that a test does not set panic.
type agent struct {
	api.GuestService
	hello  func() (*api.HelloResponse, error)
	wait   func(context.Context) (*api.WaitResponse, error)
	remove func() (*api.RemoveContainerResponse, error)
	stats  func() (*api.StatsResponse, error)
	events []*api.Event
	clock  atomic.Int64                     // what Hello carried
	hail   atomic.Pointer[api.HelloRequest] // the last Hello
	off    atomic.Int64                     // how far the guest's clock is ahead, in nanoseconds
	steps  atomic.Int64                     // calls that changed it
	slow   time.Duration                    // on the way to the guest
}

func (a *agent) Hello(_ context.Context, r *api.HelloRequest) (*api.HelloResponse, error) {
	a.clock.Store(r.GetUnixNanos())
	a.hail.Store(r)
	if a.hello != nil {
		return a.hello()
	}
	return &api.HelloResponse{Version: api.MaxVersion, AgentVersion: "1"}, nil
}

func (a *agent) SetClock(_ context.Context, r *api.SetClockRequest) (*api.SetClockResponse, error) {
	time.Sleep(a.slow)
	was := time.Now().Add(time.Duration(a.off.Load()))
	if r.GetStepNanos() != 0 {
		a.off.Add(r.GetStepNanos())
		a.steps.Add(1)
	}
	return &api.SetClockResponse{UnixNanos: was.UnixNano()}, nil
}

func (a *agent) Wait(ctx context.Context, _ *api.WaitRequest) (*api.WaitResponse, error) {
	return a.wait(ctx)
}

func (a *agent) RemoveContainer(context.Context, *api.RemoveContainerRequest) (*api.RemoveContainerResponse, error) {
	return a.remove()
}

func (a *agent) Stats(context.Context, *api.StatsRequest) (*api.StatsResponse, error) {
	return a.stats()
}

func (a *agent) Events(_ context.Context, _ *api.EventsRequest, s api.Guest_EventsServer) error {
	for _, e := range a.events {
		if err := s.Send(e); err != nil {
			return err
		}
	}
	return nil
}

// wire is the way to an agent, which refuses or cuts the first connections.
type wire struct {
	path        string
	refuse, cut atomic.Int32
	forward     func(net.Conn)
}

func (w *wire) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	if w.refuse.Add(-1) >= 0 {
		return nil, errors.New("not yet")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", w.path)
	if err != nil {
		return nil, err
	}
	if w.cut.Add(-1) >= 0 {
		c.Close()
		return c, nil
	}
	return c, api.WritePort(c, port)
}

func newWire(t *testing.T, a *agent) *wire {
	t.Helper()
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{path: filepath.Join(dir, "s")}
	l, err := net.Listen("unix", w.path)
	if err != nil {
		t.Fatal(err)
	}
	rpc, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	api.RegisterGuestService(rpc, a)
	t.Cleanup(func() {
		rpc.Close()
		l.Close()
		os.RemoveAll(dir)
	})
	go rpc.Serve(context.Background(), portListener{l, w})
	return w
}

// portListener gives ttrpc the connections to the control port.
type portListener struct {
	net.Listener
	w *wire
}

func (l portListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		port, err := api.ReadPort(c)
		switch {
		case err != nil:
			c.Close()
		case port == api.PortControl:
			return c, nil
		case l.w.forward != nil:
			go l.w.forward(c)
		}
	}
}

func testClient(t *testing.T, a *agent) *Client {
	t.Helper()
	c, err := Connect(testContext(t), newWire(t, a), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestConnect_WhileGuestBoots(t *testing.T) {
	a := &agent{}
	w := newWire(t, a)
	w.refuse.Store(2)
	w.cut.Store(2)
	c, err := Connect(testContext(t), w, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if d := time.Since(time.Unix(0, a.clock.Load())); d < 0 || d > time.Minute {
		t.Errorf("guest's clock is off by %s", d)
	}
}

// TestConnect_Seed: each connection brings randomness of its own, that of a template too.
func TestConnect_Seed(t *testing.T) {
	a := &agent{}
	w := newWire(t, a)
	seen := map[string]bool{strings.Repeat("\x00", seedBytes): true}
	for _, template := range []bool{false, true, false} {
		how := Connect
		if template {
			how = ConnectTemplate
		}
		c, err := how(testContext(t), w, "test")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		r := a.hail.Load()
		if len(r.GetSeed()) != seedBytes || seen[string(r.GetSeed())] {
			t.Errorf("seed %x, want %d bytes that were not sent before", r.GetSeed(), seedBytes)
		}
		seen[string(r.GetSeed())] = true
		if r.GetTemplate() != template {
			t.Errorf("Hello says template %v, want %v", r.GetTemplate(), template)
		}
	}
}

func TestClient_SetClock(t *testing.T) {
	for name, tc := range map[string]struct {
		off, slow time.Duration
		steps     int64
	}{
		"right":       {0, 0, 0},
		"tolerable":   {3 * time.Millisecond, 0, 0},
		"ahead":       {10 * time.Second, 0, 1},
		"behind":      {-10 * time.Second, 0, 1},
		"slow":        {-10 * time.Second, 50 * time.Millisecond, 1},
		"slow_right":  {0, 50 * time.Millisecond, 0},
		"years_apart": {-40 * 365 * 24 * time.Hour, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := &agent{slow: tc.slow}
			c, err := Connect(testContext(t), newWire(t, a), "test")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			a.steps.Store(0)
			a.off.Store(int64(tc.off))
			if err := c.SetClock(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if got := a.steps.Load(); got != tc.steps {
				t.Errorf("the clock was set %d times, want %d", got, tc.steps)
			}
			if left := time.Duration(a.off.Load()); left.Abs() > 100*time.Millisecond {
				t.Errorf("the clock is off by %s", left)
			}
		})
	}
}

func TestConnect_Refused(t *testing.T) {
	for name, tt := range map[string]struct {
		resp *api.HelloResponse
		err  error
		is   func(error) bool
	}{
		"version":   {&api.HelloResponse{Version: 99}, nil, errdefs.IsDataLoss},
		"too_old":   {nil, status.Error(codes.FailedPrecondition, "agent speaks 0 to 0"), errdefs.IsFailedPrecondition},
		"no_answer": {nil, status.Error(codes.Internal, "x"), errdefs.IsInternal},
	} {
		t.Run(name, func(t *testing.T) {
			a := &agent{hello: func() (*api.HelloResponse, error) { return tt.resp, tt.err }}
			if _, err := Connect(testContext(t), newWire(t, a), "test"); !tt.is(err) {
				t.Errorf("Connect = %v", err)
			}
		})
	}
}

func TestConnect_NeverAnswers(t *testing.T) {
	w := newWire(t, &agent{})
	w.refuse.Store(1 << 30)
	ctx, cancel := context.WithTimeout(testContext(t), 30*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, w, "test"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("Connect = %v", err)
	}
}

func TestConnect_CleansInfo(t *testing.T) {
	a := &agent{hello: func() (*api.HelloResponse, error) {
		return &api.HelloResponse{Version: 1, AgentVersion: "v\x1b[1m", KernelRelease: strings.Repeat("k", 1<<20)}, nil
	}}
	i := testClient(t, a).Info()
	if i.AgentVersion != "v [1m" || len(i.KernelRelease) > 2*maxInfoText {
		t.Errorf("info = %q, kernel release of %d bytes", i.AgentVersion, len(i.KernelRelease))
	}
}

func TestErrors(t *testing.T) {
	a := &agent{}
	c := testClient(t, a)
	for code, kind := range kinds {
		a.wait = func(context.Context) (*api.WaitResponse, error) {
			return nil, status.Error(code, "a\nb\x1b"+strings.Repeat("x", 2*maxErrorText))
		}
		_, err := c.Wait(testContext(t), "c", "")
		if !errors.Is(err, kind) || len(err.Error()) > maxErrorText+100 || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: %.100v", code, err)
		}
	}
}

func TestWait_Checks(t *testing.T) {
	a := &agent{}
	c := testClient(t, a)
	for _, resp := range []*api.WaitResponse{{}, {Exit: &api.Exit{Code: 256}}} {
		a.wait = func(context.Context) (*api.WaitResponse, error) { return resp, nil }
		if e, err := c.Wait(testContext(t), "c", ""); !errdefs.IsDataLoss(err) {
			t.Errorf("Wait = %+v, %v", e, err)
		}
	}
}

func TestWait_EndsWithContextAndConnection(t *testing.T) {
	a := &agent{wait: func(ctx context.Context) (*api.WaitResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	c := testClient(t, a)
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(ctx, "c", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v", err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Wait(testContext(t), "c", "")
		result <- err
	}()
	c.Close()
	if err := <-result; !errdefs.IsUnavailable(err) {
		t.Errorf("Wait on a lost connection = %v", err)
	}
	if err := c.SetClock(testContext(t)); !errdefs.IsUnavailable(err) {
		t.Errorf("SetClock on a lost connection = %v", err)
	}
}

func TestRemoveContainer_ChecksLayers(t *testing.T) {
	a := &agent{}
	c := testClient(t, a)
	for _, layers := range [][]string{{""}, {strings.Repeat("x", maxID+1)}, make([]string, maxLayers+1)} {
		a.remove = func() (*api.RemoveContainerResponse, error) {
			return &api.RemoveContainerResponse{UnusedLayers: layers}, nil
		}
		if _, err := c.RemoveContainer(testContext(t), "c"); !errdefs.IsDataLoss(err) {
			t.Errorf("RemoveContainer = %v", err)
		}
	}
}

func TestOversizedAnswer(t *testing.T) {
	a := &agent{remove: func() (*api.RemoveContainerResponse, error) {
		return &api.RemoveContainerResponse{UnusedLayers: []string{strings.Repeat("x", 5<<20)}}, nil
	}}
	c := testClient(t, a)
	ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
	defer cancel()
	if _, err := c.RemoveContainer(ctx, "c"); err == nil {
		t.Error("an answer beyond ttrpc's limit was taken")
	}
}

func TestEvents_Checks(t *testing.T) {
	exit := &api.Event_Exit{Exit: &api.Exit{Code: 1}}
	good := &api.Event{Seq: 1, ContainerId: "c", Kind: exit}
	for name, events := range map[string][]*api.Event{
		"exit_twice": {good, good},
		"no_id":      {{Seq: 1, Kind: exit}},
		"no_kind":    {{Seq: 1, ContainerId: "c"}},
		"code":       {{Seq: 1, ContainerId: "c", Kind: &api.Event_Exit{Exit: &api.Exit{Code: 999}}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := testClient(t, &agent{events: events})
			n := 0
			err := c.Events(testContext(t), 0, func(Event) error { n++; return nil })
			if !errdefs.IsDataLoss(err) || n != len(events)-1 {
				t.Errorf("Events = %v after %d", err, n)
			}
		})
	}
}

func TestForward_Refused(t *testing.T) {
	w := newWire(t, &agent{})
	c, err := Connect(testContext(t), w, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.forward = func(conn net.Conn) {
		if _, port, err := api.ReadForwardHeader(conn); err == nil && port == 80 {
			api.WriteForwardReply(conn, "no\x1b")
		}
	}
	if _, err := c.Forward(testContext(t), "p", 80); !errdefs.IsFailedPrecondition(err) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("Forward = %v", err)
	}
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Forward(ctx, "p", 81); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Forward without an answer = %v", err)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain", 10)
	f.Add("\x00\x1b[2J\u202e\xff", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 0 {
			limit = -limit
		}
		limit %= 1 << 16
		got := clean(s, limit)
		if len(got) > 3*limit+3 || strings.ContainsAny(got, "\x00\x1b\n\r\u202e") {
			t.Errorf("clean(%q, %d) = %q", s, limit, got)
		}
	})
}
