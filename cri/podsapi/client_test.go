package podsapi

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	podsv1alpha1 "k8s.io/kubelet/pkg/apis/pods/v1alpha1"
)

// fakeKubelet serves the Pods API on a unix socket: get answers GetPod.
type fakeKubelet struct {
	podsv1alpha1.UnimplementedPodsServer
	get   func(ctx context.Context, uid string) ([]byte, error)
	calls atomic.Int32
}

func (f *fakeKubelet) GetPod(ctx context.Context, r *podsv1alpha1.GetPodRequest) (*podsv1alpha1.GetPodResponse, error) {
	f.calls.Add(1)
	b, err := f.get(ctx, r.GetPodUID())
	if err != nil {
		return nil, err
	}
	return &podsv1alpha1.GetPodResponse{Pod: b}, nil
}

// serve returns the endpoint of a server with what register adds, until the test ends.
func serve(t *testing.T, at string, register func(*grpc.Server)) {
	t.Helper()
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		<-done
	})
}

func newClient(t *testing.T, at string, timeout time.Duration) *Client {
	t.Helper()
	c, err := New(Config{Endpoint: "unix://" + at, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func socket(t *testing.T) string { return filepath.Join(t.TempDir(), "pods.sock") }

func encoded(t *testing.T, uid string) []byte {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Name, pod.Spec.HostNetwork = "web", true
	pod.Annotations = map[string]string{"uid": uid}
	pod.Spec.Containers = []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{}}}
	b, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPod(t *testing.T) {
	at := socket(t)
	f := &fakeKubelet{get: func(_ context.Context, uid string) ([]byte, error) { return encoded(t, uid), nil }}
	serve(t, at, func(g *grpc.Server) { podsv1alpha1.RegisterPodsServer(g, f) })
	got, err := newClient(t, at, 0).Pod(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "web" || got.Annotations["uid"] != "u1" || len(got.Spec.Containers) != 1 || !got.Spec.HostNetwork {
		t.Errorf("Pod = %+v", got)
	}
}

// TestPod_Answers: what a kubelet answers, the kind it has for the caller, and how often
// it is asked.
func TestPod_Answers(t *testing.T) {
	tests := map[string]struct {
		answer []byte
		err    error
		kind   func(error) bool
		text   string
		again  bool
	}{
		"gone":      {nil, status.Error(codes.NotFound, "pod with UID u not found"), errdefs.IsNotFound, "not found", false},
		"starting":  {nil, status.Error(codes.FailedPrecondition, "Kubelet is initializing"), errdefs.IsUnavailable, "initializing", true},
		"limited":   {nil, status.Error(codes.ResourceExhausted, "too many"), errdefs.IsUnavailable, "too many", true},
		"away":      {nil, status.Error(codes.Unavailable, "bye"), errdefs.IsUnavailable, "bye", true},
		"forbidden": {nil, status.Error(codes.PermissionDenied, "no"), errdefs.IsPermissionDenied, "no", false},
		"broken":    {nil, status.Error(codes.Internal, "marshal"), errdefs.IsUnavailable, "marshal", false},
		"too_large": {make([]byte, maxMessage+1), nil, errdefs.IsUnavailable, "larger than max", true},
		"empty":     {nil, nil, errdefs.IsDataLoss, "answered nothing", false},
		"garbage":   {[]byte{0xff, 0xff, 0xff, 1, 2, 3}, nil, errdefs.IsDataLoss, "read the kubelet's answer", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at := socket(t)
			f := &fakeKubelet{get: func(context.Context, string) ([]byte, error) { return tt.answer, tt.err }}
			serve(t, at, func(g *grpc.Server) { podsv1alpha1.RegisterPodsServer(g, f) })
			timeout := time.Second
			if name == "too_large" { // on a busy machine its 16 MiB take a while
				timeout *= 5
			}
			pod, err := newClient(t, at, timeout).Pod(t.Context(), "u")
			if pod != nil || !tt.kind(err) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Pod = %v, %v, want one that says %q", pod, err, tt.text)
			}
			if n := f.calls.Load(); (n > 1) != tt.again {
				t.Errorf("it was asked %d times, want again: %v", n, tt.again)
			}
		})
	}
}

// TestPod_Starts: a kubelet that is there only later, and knows its pods later still, is
// waited for.
func TestPod_Starts(t *testing.T) {
	at := socket(t)
	f := &fakeKubelet{}
	f.get = func(_ context.Context, uid string) ([]byte, error) {
		if f.calls.Load() < 3 {
			return nil, status.Error(codes.FailedPrecondition, "Kubelet is initializing")
		}
		return encoded(t, uid), nil
	}
	c := newClient(t, at, 20*time.Second)
	got := make(chan error, 1)
	go func() {
		_, err := c.Pod(t.Context(), "u")
		got <- err
	}()
	serve(t, at, func(g *grpc.Server) { podsv1alpha1.RegisterPodsServer(g, f) })
	if err := <-got; err != nil {
		t.Errorf("Pod = %v", err)
	}
}

// TestPod_Bounded: a kubelet that is not there, takes no connections, takes them and is
// silent, or never answers a call costs no more than the timeout.
func TestPod_Bounded(t *testing.T) {
	hang := &fakeKubelet{get: func(ctx context.Context, _ string) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for name, start := range map[string]func(t *testing.T, at string){
		"absent": func(*testing.T, string) {},
		"silent": func(t *testing.T, at string) {
			l, err := net.Listen("unix", at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		},
		"hangs": func(t *testing.T, at string) {
			serve(t, at, func(g *grpc.Server) { podsv1alpha1.RegisterPodsServer(g, hang) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			at := socket(t)
			start(t, at)
			const timeout = 300 * time.Millisecond
			began := time.Now()
			_, err := newClient(t, at, timeout).Pod(t.Context(), "u")
			if took := time.Since(began); took < timeout || took > time.Minute {
				t.Errorf("it took %s, want %s and what a busy machine adds", took, timeout)
			}
			if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), at) {
				t.Errorf("Pod = %v, want unavailable, with the endpoint", err)
			}
		})
	}
}

// TestPod_CallersTime: the caller's own end is told as that.
func TestPod_CallersTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newClient(t, socket(t), time.Hour).Pod(ctx, "u"); !errors.Is(err, context.Canceled) || errdefs.IsUnavailable(err) {
		t.Errorf("Pod = %v, want canceled", err)
	}
}

// TestPod_VersionSkew: a kubelet without this version of the API says so at once, and a
// newer one's fields that are not known here do not matter.
func TestPod_VersionSkew(t *testing.T) {
	at := socket(t)
	serve(t, at, func(*grpc.Server) {})
	_, err := newClient(t, at, 5*time.Second).Pod(t.Context(), "u")
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "PodsAPI") {
		t.Errorf("Pod = %v, want one that names the feature gate", err)
	}

	at = socket(t)
	newer := &fakeKubelet{get: func(_ context.Context, uid string) ([]byte, error) {
		return append(encoded(t, uid), 0xfa, 0x07, 3, 'n', 'e', 'w'), nil // field 127, a string
	}}
	serve(t, at, func(g *grpc.Server) { podsv1alpha1.RegisterPodsServer(g, newer) })
	if got, err := newClient(t, at, 0).Pod(t.Context(), "u"); err != nil || got.Name != "web" {
		t.Errorf("Pod = %v, %v", got, err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	pod := &corev1.Pod{}
	pod.Name = "web"
	b, err := pod.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { _ = unmarshal(&corev1.Pod{}, b) })
}
