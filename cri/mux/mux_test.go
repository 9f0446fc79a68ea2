package mux

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
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("= %v, want %s with %q", err, code, text)
	}
}

// TestRules_All: each method of the CRI has a rule, so that none is upstream's by accident.
func TestRules_All(t *testing.T) {
	r := newRig(t, nil)
	total := 0
	for _, d := range []grpc.ServiceDesc{runtimeapi.RuntimeService_ServiceDesc, runtimeapi.ImageService_ServiceDesc} {
		var methods []string
		for _, m := range d.Methods {
			methods = append(methods, m.MethodName)
		}
		for _, s := range d.Streams {
			methods = append(methods, s.StreamName)
		}
		for _, m := range methods {
			if r.mux.rules["/"+d.ServiceName+"/"+m] == nil {
				t.Errorf("%s/%s has no rule", d.ServiceName, m)
			}
		}
		total += len(methods)
	}
	if len(r.mux.rules) != total {
		t.Errorf("%d rules for %d methods", len(r.mux.rules), total)
	}
}

// TestRoute_ByHandler: pods go by their handler, what is done to them after them, and what
// is removed is forgotten.
func TestRoute_ByHandler(t *testing.T) {
	r := newRig(t, nil)
	vm, def, runc := r.run("vm", "vm"), r.run("def", ""), r.run("runc", "runc")
	_, err := r.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{RuntimeHandler: "nobody", Config: podConfig("x")})
	wantCode(t, err, codes.InvalidArgument, `no runtime for "nobody"`)
	if _, err := r.runtime.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: runc}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("pod "+vm+" vm SANDBOX_READY\npod "+def+" def SANDBOX_READY\n", r.ours.String()); diff != "" {
		t.Errorf("ours (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("pod "+runc+" runc SANDBOX_NOTREADY\n", r.upstream.String()); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
	for _, id := range []string{vm, runc} {
		if _, err := r.runtime.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
			t.Fatal(err)
		}
		if r.mux.ours().hasPod(id) || r.mux.upstream().hasPod(id) {
			t.Errorf("%s is not forgotten", id)
		}
	}
}

func TestRoute_DefaultUpstream(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DefaultUpstream = true })
	if id := r.run("def", ""); !strings.HasPrefix(id, "bbbb") {
		t.Errorf("the default pod is %s, want upstream's", id)
	}
}

// TestRoute_Containers: all that is done to a container goes to its pod's side, with the
// URLs of streams as that side gave them.
func TestRoute_Containers(t *testing.T) {
	r := newRig(t, nil)
	for handler, prefix := range map[string]string{"vm": "aaaa", "runc": "bbbb"} {
		pod := r.run(handler, handler)
		c := r.container(pod, handler)
		if _, err := r.runtime.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: c}); err != nil {
			t.Fatal(err)
		}
		ex, err := r.runtime.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: c, Cmd: []string{"x"}})
		if want := "http://" + prefix + "/exec/" + c; err != nil || ex.GetUrl() != want {
			t.Errorf("Exec = %v, %v, want %s", ex, err, want)
		}
		pf, err := r.runtime.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: pod})
		if want := "http://" + prefix + "/portforward/" + pod; err != nil || pf.GetUrl() != want {
			t.Errorf("PortForward = %v, %v, want %s", pf, err, want)
		}
	}
	if got := r.ours.called(); strings.Contains(got, "List") {
		t.Errorf("ours was asked %s: ids were known", got)
	}
}

// container pulls an image for the pod and makes a container of it, as a kubelet does.
func (r *rig) container(pod, name string) string {
	r.t.Helper()
	pull, err := r.images.PullImage(r.t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "img:" + name}, SandboxConfig: podConfig(name)})
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := r.runtime.CreateContainer(r.t.Context(), &runtimeapi.CreateContainerRequest{
		PodSandboxId: pod, Config: &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: pull.GetImageRef()}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.GetContainerId()
}

// TestRoute_AfterRestart: a new Mux finds what an earlier one made by asking.
func TestRoute_AfterRestart(t *testing.T) {
	r := newRig(t, nil)
	pod := r.run("runc", "runc")
	c := r.container(pod, "runc")
	r.close()
	r.start()
	if _, err := r.runtime.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: c}); err != nil {
		t.Errorf("StartContainer = %v", err)
	}
	if st, err := r.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod}); err != nil || st.GetStatus().GetId() != pod {
		t.Errorf("PodSandboxStatus = %v, %v", st, err)
	}
	if _, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "more"}, SandboxConfig: podConfig("runc")}); err != nil || r.upstream.images["more"] == nil {
		t.Errorf("PullImage = %v; upstream has\n%s", err, r.upstream)
	}
}

// TestRoute_Prefix: an id may be cut short as long as it is of one side.
func TestRoute_Prefix(t *testing.T) {
	r := newRig(t, nil)
	r.upstream.prefix = "aabb"
	r.run("vm", "vm")
	up := r.run("runc", "runc")
	st, err := r.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: "aab"})
	if err != nil || st.GetStatus().GetId() != up {
		t.Errorf("PodSandboxStatus(aab) = %v, %v, want %s", st, err, up)
	}
	_, err = r.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: "aa"})
	wantCode(t, err, codes.InvalidArgument, "both porthole and upstream")
}

// TestRoute_Nobody: what neither has is answered by ours; while one cannot be asked, that
// it is gone is not told.
func TestRoute_Nobody(t *testing.T) {
	r := newRig(t, nil)
	_, err := r.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: "cccc"})
	wantCode(t, err, codes.NotFound, "aaaa has no pod cccc")
	if _, err := r.runtime.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: "cccc"}); err != nil {
		t.Errorf("StopPodSandbox = %v, want success", err)
	}
	r.stop()
	_, err = r.runtime.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: "cccc"})
	wantCode(t, err, codes.Unavailable, "upstream cannot be asked")
	_, err = r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "x"}, SandboxConfig: podConfig("unknown")})
	wantCode(t, err, codes.Unavailable, "upstream cannot be asked")
}

// TestPass_AsItIs: errors with their details, headers, unknown fields and methods that
// this build has never heard of get through.
func TestPass_AsItIs(t *testing.T) {
	r := newRig(t, nil)
	pod := r.run("runc", "runc")
	st, err := status.New(codes.FailedPrecondition, "wait").WithDetails(durationpb.New(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	r.upstream.setFail("StopPodSandbox", st.Err())
	_, err = r.runtime.StopPodSandbox(metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-1"), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod})
	if got := status.Convert(err); !proto.Equal(got.Proto(), st.Proto()) {
		t.Errorf("= %v, want %v", got.Proto(), st.Proto())
	}
	if got := r.upstream.md.Get("traceparent"); len(got) != 1 || got[0] != "00-1" {
		t.Errorf("traceparent = %q", got)
	}
	resp := &runtimeapi.VersionResponse{}
	if err := r.conn.Invoke(t.Context(), "/runtime.v2.RuntimeService/Dance", &runtimeapi.VersionRequest{Version: "it is"}, resp); err != nil || resp.GetVersion() != "it is danced by bbbb" {
		t.Errorf("a new method = %v, %v", resp, err)
	}
	err = r.conn.Invoke(t.Context(), "/runtime.v9.RuntimeService/Dance", &runtimeapi.VersionRequest{}, resp)
	wantCode(t, err, codes.Unimplemented, "")
	if v, err := r.runtime.Version(t.Context(), &runtimeapi.VersionRequest{}); err != nil || v.GetRuntimeName() != "aaaa" {
		t.Errorf("Version = %v, %v, want ours", v, err)
	}
}

// TestServe_SeveralListeners: the local runtime is there until the last of them ends.
func TestServe_SeveralListeners(t *testing.T) {
	r := newRig(t, nil)
	// It answers: so it serves, and is not the last to come.
	if _, err := r.runtime.Version(t.Context(), &runtimeapi.VersionRequest{}); err != nil {
		t.Fatal(err)
	}
	second := newMemoryListener()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.mux.Serve(ctx, second) }()
	s, err := newSide("second", second.dial)
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	if v, err := s.runtime.Version(t.Context(), &runtimeapi.VersionRequest{}); err != nil || v.GetRuntimeName() != "aaaa" {
		t.Errorf("Version at the second = %v, %v", v, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if v, err := r.runtime.Version(t.Context(), &runtimeapi.VersionRequest{}); err != nil || v.GetRuntimeName() != "aaaa" {
		t.Errorf("Version at the first = %v, %v", v, err)
	}
}

// brokenRuntime ends at once.
type brokenRuntime struct{}

func (brokenRuntime) Serve(context.Context, net.Listener) error { return errors.New("broken") }

// TestServe_LocalEnds: without our own runtime there is nothing to serve.
func TestServe_LocalEnds(t *testing.T) {
	m, err := New(Config{Local: brokenRuntime{}, Upstream: "unix:///nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Serve(t.Context(), newMemoryListener()); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("Serve = %v, want the runtime's error", err)
	}
}

func TestAsk(t *testing.T) {
	r := newRig(t, nil)
	if who, err := Ask(t.Context(), "unix://"+r.socket); err != nil || who != "bbbb 1.2.3" {
		t.Errorf("Ask = %q, %v", who, err)
	}
	r.stop()
	if _, err := Ask(t.Context(), "unix://"+r.socket); err == nil || !strings.Contains(err.Error(), r.socket) {
		t.Errorf("Ask = %v, want an error with the endpoint", err)
	}
	if _, err := Ask(t.Context(), "tcp://x"); err == nil {
		t.Error("Ask of no endpoint succeeds")
	}
}

func TestStringField(t *testing.T) {
	b, err := proto.Marshal(&runtimeapi.ExecSyncRequest{ContainerId: "c", Cmd: []string{"x"}, Timeout: 5})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := stringField(b, 1); err != nil || got != "c" {
		t.Errorf("= %q, %v", got, err)
	}
	if got, err := stringField(append(b, 0x0a, 1, 'd'), 1); err != nil || got != "d" {
		t.Errorf("given twice: %q, %v, want the last", got, err)
	}
	for _, bad := range [][]byte{{0x0a}, {0x0a, 5, 'x'}, {0xff}, {0x08, 0xff}} {
		_, err := stringField(bad, 1)
		wantCode(t, err, codes.InvalidArgument, "cannot be read")
	}
}

func nextEvent(t *testing.T, s interface {
	Recv() (*runtimeapi.ContainerEventResponse, error)
}, want string) {
	t.Helper()
	e, err := s.Recv()
	if err != nil || e.GetContainerId() != want {
		t.Fatalf("event = %v, %v, want %s", e, err, want)
	}
}

// TestEvents: those of both sides come, also after one side was away.
func TestEvents(t *testing.T) {
	r := newRig(t, nil)
	r.ours.events, r.upstream.events = make(chan *runtimeapi.ContainerEventResponse), make(chan *runtimeapi.ContainerEventResponse)
	s, err := r.runtime.GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(f *fakeRuntime, id string) { f.events <- &runtimeapi.ContainerEventResponse{ContainerId: id} }
	send(r.ours, "a1")
	nextEvent(t, s, "a1")
	send(r.upstream, "b1")
	nextEvent(t, s, "b1")
	r.stop()
	send(r.ours, "a2")
	nextEvent(t, s, "a2")
	r.startUpstream()
	send(r.upstream, "b2")
	nextEvent(t, s, "b2")

	// The daemon's end is told, and does not wait for the stream's.
	began := time.Now()
	r.cancel()
	_, err = s.Recv()
	wantCode(t, err, codes.Unavailable, "the server ends")
	r.close()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the end took %s", took)
	}
}

// TestEvents_OneSide: events of one side alone would be taken for all.
func TestEvents_OneSide(t *testing.T) {
	r := newRig(t, nil)
	r.ours.events = make(chan *runtimeapi.ContainerEventResponse)
	s, err := r.runtime.GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantCode(t, err, codes.Unimplemented, "no events")
	st, err := r.runtime.StreamContainers(t.Context(), &runtimeapi.StreamContainersRequest{})
	if err == nil {
		_, err = st.Recv()
	}
	wantCode(t, err, codes.Unimplemented, "not streamed")
	if err == io.EOF {
		t.Error("an empty stream is no answer")
	}
}

// TestPass_CallerGone: a call that hangs upstream ends with its caller.
func TestPass_CallerGone(t *testing.T) {
	r := newRig(t, nil)
	if _, err := r.runtime.Version(t.Context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err) // the connections are there before the time runs
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r.upstream.events, r.ours.events = make(chan *runtimeapi.ContainerEventResponse), make(chan *runtimeapi.ContainerEventResponse)
	s, err := r.runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantCode(t, err, codes.DeadlineExceeded, "")
}
