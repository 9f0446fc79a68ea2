//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

func podRequest() *api.CreatePodRequest {
	return &api.CreatePodRequest{PodId: "p", Hostname: "h", Scratch: &api.DiskAddress{}, Limits: []byte(`{"memory":{"limit":1048576}}`)}
}

func containerRequest(id string) *api.CreateContainerRequest {
	return &api.CreateContainerRequest{
		PodId: "p", ContainerId: id, Spec: []byte(`{"process":{"args":["sh"],"cwd":"/w"},"linux":{}}`),
		Layers: []*api.DiskAddress{{Lun: 1}, {Lun: 2}}, LayerIds: []string{"a", "b"},
	}
}

func hello(t *testing.T, h *host) {
	t.Helper()
	if _, err := h.Hello(t.Context(), &api.HelloRequest{MinVersion: 1, MaxVersion: 1, UnixNanos: 1}); err != nil {
		t.Fatal(err)
	}
}

// TestHello_Seed: the pool is seeded before anything is made up, and in a template
// nothing is.
func TestHello_Seed(t *testing.T) {
	for _, tt := range []struct {
		name     string
		seed     int
		template bool
		code     codes.Code
		drawn    string
		bootID   string
	}{
		{"none", 0, false, codes.OK, "boot id, ", "this-boot"},
		{"seed", 32, false, codes.OK, "seed 32, boot id, ", "this-boot"},
		{"longest", 512, false, codes.OK, "seed 512, boot id, ", "this-boot"},
		{"short", 31, false, codes.InvalidArgument, "", ""},
		{"long", 513, false, codes.InvalidArgument, "", ""},
		{"template", 64, true, codes.OK, "seed 64, ", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			h := newHost(t, m)
			r, err := h.Hello(t.Context(), &api.HelloRequest{MinVersion: 1, MaxVersion: 1, Seed: make([]byte, tt.seed), Template: tt.template})
			if status.Code(err) != tt.code || m.drawn != tt.drawn {
				t.Errorf("Hello() = %v with %q, want %v with %q", err, m.drawn, tt.code, tt.drawn)
			}
			if r.GetBootId() != tt.bootID || r.GetSeeded() != (err == nil && tt.seed > 0) {
				t.Errorf("Hello() = %v, want boot id %q", r, tt.bootID)
			}
		})
	}
}

// lifecycle runs a pod with a container and an exec, and takes it down.
func lifecycle(ctx context.Context, h *host, p *api.CreatePodRequest, c *api.CreateContainerRequest) error {
	if _, err := h.CreatePod(ctx, p); err != nil {
		return err
	}
	if _, err := h.CreateContainer(ctx, c); err != nil {
		return err
	}
	if _, err := h.StartContainer(ctx, &api.StartContainerRequest{ContainerId: "c"}); err != nil {
		return err
	}
	_, err := h.Exec(ctx, &api.ExecRequest{ContainerId: "c", ExecId: "e", Args: []string{"sh"}})
	return err
}

func TestAgent_EveryStepFailsOnce(t *testing.T) {
	everyStepFails(t, podRequest, func() *api.CreateContainerRequest { return containerRequest("c") })
}

func everyStepFails(t *testing.T, pod func() *api.CreatePodRequest, container func() *api.CreateContainerRequest) {
	t.Helper()
	for n, failed := 1, true; failed; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMachine(t)
			m.failAt = n
			h := newHost(t, m)
			hello(t, h)
			err := lifecycle(t.Context(), h, pod(), container())
			if failed = err != nil; failed && !strings.Contains(err.Error(), "injected") {
				t.Errorf("%v, want the injected error", err)
			}
			if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
				t.Errorf("RemovePod: %v", err)
			}
			if left := m.String() + h.files(); left != "" {
				t.Errorf("%v left\n%s", err, left)
			}
		})
	}
}

// TestAgent_RemoveExecBeingMade: a caller that gives up on an exec does not know whether
// it is made already. What was asked to go does not run on when it is.
func TestAgent_RemoveExecBeingMade(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateContainer(t.Context(), containerRequest("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.StartContainer(t.Context(), &api.StartContainerRequest{ContainerId: "c"}); err != nil {
		t.Fatal(err)
	}
	before := m.String() + h.files()
	m.hold = make(chan struct{})
	made, removed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := h.Exec(t.Context(), &api.ExecRequest{ContainerId: "c", ExecId: "e", Args: []string{"sh"}})
		made <- err
	}()
	<-m.hold
	// One that does not wait long learns that nothing was removed.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := h.RemoveExec(ctx, &api.RemoveExecRequest{ContainerId: "c", ExecId: "e"}); err == nil {
		t.Error("RemoveExec of an exec that is being made succeeded at once")
	}
	go func() {
		_, err := h.RemoveExec(t.Context(), &api.RemoveExecRequest{ContainerId: "c", ExecId: "e"})
		removed <- err
	}()
	m.hold <- struct{}{}
	if err := errors.Join(<-made, <-removed); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(before, m.String()+h.files()); d != "" {
		t.Errorf("left (-before +after):\n%s", d)
	}
}

// TestAgent_ExecWait: an exec that is waited for answers with its exit. When the caller does not
// wait that long it runs on, and others are not kept from the container meanwhile.
func TestAgent_ExecWait(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if err := lifecycle(t.Context(), h, podRequest(), containerRequest("c")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	req := &api.ExecRequest{ContainerId: "c", ExecId: "w", Args: []string{"sh"}, Wait: true}
	if r, err := h.Exec(ctx, req); err == nil {
		t.Errorf("Exec of a process that runs on = %v", r)
	}
	if _, err := h.Signal(t.Context(), &api.SignalRequest{ContainerId: "c", ExecId: "w", Signal: 9}); err != nil {
		t.Errorf("signal the one that runs on: %v", err)
	}
	exited := make(chan *api.ExecResponse, 1)
	go func() {
		r, err := h.Exec(t.Context(), &api.ExecRequest{ContainerId: "c", ExecId: "x", Args: []string{"sh"}, Wait: true})
		if err != nil {
			t.Error(err)
		}
		exited <- r
	}()
	for { // until it is made
		_, err := h.Signal(t.Context(), &api.SignalRequest{ContainerId: "c", ExecId: "x", Signal: 9})
		if err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	if r := <-exited; r.GetExit().GetCode() != 128+9 || r.GetPid() == 0 {
		t.Errorf("Exec = %v, want a pid and exit code 137", r)
	}
	for _, id := range []string{"w", "x"} {
		if _, err := h.RemoveExec(t.Context(), &api.RemoveExecRequest{ContainerId: "c", ExecId: id}); err != nil {
			t.Error(err)
		}
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Error(err)
	}
	if left := m.String() + h.files(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestAgent_FailedCreateLeavesNothing: a create that fails changes nothing but itself.
func TestAgent_FailedCreateLeavesNothing(t *testing.T) {
	for n, failed := 1, true; failed; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMachine(t)
			h := newHost(t, m)
			hello(t, h)
			if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
				t.Fatal(err)
			}
			before := m.String() + h.files()
			m.mu.Lock()
			m.calls, m.failAt = 0, n
			m.mu.Unlock()
			_, err := h.CreateContainer(t.Context(), containerRequest("c"))
			failed = err != nil
			if d := cmp.Diff(before, m.String()+h.files()); failed && d != "" {
				t.Errorf("left (-before +after):\n%s", d)
			}
			if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAgent_Hello(t *testing.T) {
	h := newHost(t, newMachine(t))
	for name, call := range map[string]func() error{
		"unary": func() error { _, err := h.Wait(t.Context(), &api.WaitRequest{}); return err },
		"stream": func() error {
			s, err := h.Events(t.Context(), &api.EventsRequest{})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		},
		"version": func() error {
			_, err := h.Hello(t.Context(), &api.HelloRequest{MinVersion: 7, MaxVersion: 9})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s before Hello = %v, want FailedPrecondition", name, err)
		}
	}
	hello(t, h)
	if _, err := h.Wait(t.Context(), &api.WaitRequest{ContainerId: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("Wait = %v, want NotFound", err)
	}
}

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct{ min, max, want uint32 }{{1, 1, 1}, {0, 1, 1}, {1, 9, 4}, {2, 9, 4}, {1, 2, 2}, {0, 0, 0}, {5, 9, 0}, {9, 1, 0}} {
		got, err := negotiate(tt.min, tt.max)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("negotiate(%d, %d) = %d, %v, want %d", tt.min, tt.max, got, err, tt.want)
		}
	}
}

func TestAgent_OutputAndEvents(t *testing.T) {
	m := newMachine(t)
	m.output = "hello"
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
		t.Fatal(err)
	}
	r := containerRequest("c")
	id, out := h.stream()
	r.Stdio = &api.Stdio{Stdout: id}
	if _, err := h.CreateContainer(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateContainer(t.Context(), r); status.Code(err) != codes.AlreadyExists {
		t.Errorf("CreateContainer again = %v, want AlreadyExists", err)
	}
	if _, err := h.Exec(t.Context(), &api.ExecRequest{ContainerId: "c", ExecId: "e", Args: []string{"x"}}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Exec before Start = %v, want FailedPrecondition", err)
	}
	if _, err := h.Signal(t.Context(), &api.SignalRequest{ContainerId: "c", Signal: 9}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out); err != nil || !strings.HasPrefix("hello", string(got)) {
		t.Errorf("output %q, %v", got, err)
	}
	w, err := h.Wait(t.Context(), &api.WaitRequest{ContainerId: "c"})
	if err != nil || w.Exit.Code != 137 {
		t.Errorf("Wait = %v, %v, want code 137", w, err)
	}
	s, err := h.Events(t.Context(), &api.EventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := s.Recv(); err != nil || e.Seq != 1 || e.ContainerId != "c" || e.GetExit().GetCode() != 137 {
		t.Errorf("event %v, %v", e, err)
	}
	rm, err := h.RemoveContainer(t.Context(), &api.RemoveContainerRequest{ContainerId: "c"})
	if err != nil || cmp.Diff([]string{"a", "b"}, rm.UnusedLayers) != "" {
		t.Errorf("RemoveContainer = %v, %v", rm, err)
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Error(err)
	}
}

func TestAgent_Forward(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	s := h.open(api.PortForward)
	api.WriteForwardHeader(s, "p", uint16(l.Addr().(*net.TCPAddr).Port))
	if msg, err := api.ReadForwardReply(s); err != nil || msg != "" {
		t.Fatalf("reply %q, %v", msg, err)
	}
	fmt.Fprint(s, "echo")
	s.Close()
	if got, err := io.ReadAll(s); err != nil || string(got) != "echo" {
		t.Errorf("forwarded %q, %v", got, err)
	}
	s = h.open(api.PortForward)
	api.WriteForwardHeader(s, "none", 1)
	if msg, err := api.ReadForwardReply(s); err != nil || !strings.Contains(msg, `pod "none"`) {
		t.Errorf("reply %q, %v, want one that names the pod", msg, err)
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Error(err)
	}
}
