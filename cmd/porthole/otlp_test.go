package main

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/phase"
)

func sampleCall(at time.Time) phase.Call {
	return phase.Call{
		Name: "CreateContainer", Container: "app", Begun: at, Took: time.Second, Error: "no room",
		Pod:         phase.Pod{ID: "1", UID: "u", Namespace: "default", Name: "web"},
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Spans: []phase.Span{
			{Name: "create in vm", Parent: phase.Root, Start: 100 * time.Millisecond, Took: 800 * time.Millisecond, Error: "no room"},
			{Name: "attach layers", Parent: 0, Start: 200 * time.Millisecond, Took: 10 * time.Millisecond},
		},
	}
}

func TestOTLP_Spans(t *testing.T) {
	at := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	out := tracetest.NewInMemoryExporter()
	o := otlpTo(out, slog.New(slog.DiscardHandler))
	o.send(sampleCall(at))
	if err := o.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	type span struct {
		Name, Parent string
		Begin, End   time.Duration
		Status       codes.Code
	}
	names := map[string]string{"b7ad6b7169203331": "the caller's"}
	for _, s := range out.GetSpans() {
		names[s.SpanContext.SpanID().String()] = s.Name
	}
	var got []span
	for _, s := range out.GetSpans() {
		if id := s.SpanContext.TraceID().String(); id != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s is of trace %s, not of the caller's", s.Name, id)
		}
		got = append(got, span{s.Name, names[s.Parent.SpanID().String()], s.StartTime.Sub(at), s.EndTime.Sub(at), s.Status.Code})
	}
	want := []span{
		{"create in vm", "CreateContainer", 100 * time.Millisecond, 900 * time.Millisecond, codes.Error},
		{"attach layers", "create in vm", 200 * time.Millisecond, 210 * time.Millisecond, codes.Unset},
		{"CreateContainer", "the caller's", 0, time.Second, codes.Error},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("spans (-want +got):\n%s", d)
	}
}

// TestOTLP_Sends looks at what goes over the wire: one export to the collector's service.
func TestOTLP_Sends(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	methods := make(chan string, 16)
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(ss)
		methods <- method
		if err := ss.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return ss.SendMsg(&emptypb.Empty{})
	}))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() { s.Stop(); <-served }()

	o, err := newOTLP(t.Context(), config.Tracing{Endpoint: "http://" + l.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal(prometheus.NewRegistry(), o)
	ctx, end := j.Begin(t.Context(), phase.Call{Name: "RunPodSandbox"})
	_ = phase.Do(ctx, "vm", func(context.Context) error { return nil })
	end(phase.Pod{ID: "1"}, nil)
	o.close(t.Context())
	const want = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	select {
	case got := <-methods:
		if got != want {
			t.Errorf("called %s, want %s", got, want)
		}
	default:
		t.Error("nothing was sent before close returned")
	}
}

func TestJournal_Metrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	j := newJournal(reg, nil)
	ctx, end := j.Begin(t.Context(), phase.Call{Name: "RunPodSandbox"})
	for _, name := range []string{"vm", "vm", "network", "made up by a guest"} {
		_ = phase.Do(ctx, name, func(context.Context) error { return nil })
	}
	end(phase.Pod{ID: "1"}, nil)
	if n, err := testutil.GatherAndCount(reg, "porthole_phase_seconds"); err != nil || n != 2 {
		t.Errorf("%d series (%v), want those of vm and network", n, err)
	}
}

func TestFindHistory(t *testing.T) {
	all := []phase.History{
		{Pod: phase.Pod{ID: "aaa1", UID: "u2", Namespace: "default", Name: "web"}},
		{Pod: phase.Pod{ID: "bbb2", UID: "u1", Namespace: "kube-system", Name: "dns"}},
		{Pod: phase.Pod{ID: "ccc3", UID: "u0", Namespace: "default", Name: "web"}},
		{Pod: phase.Pod{ID: "bbb4", UID: "u3", Namespace: "default", Name: "aa"}},
		{Pod: phase.Pod{UID: "u9"}},
	}
	for name, want := range map[string]string{
		"": "aaa1", "web": "aaa1", "default/web": "aaa1", "dns": "bbb2", "bbb2": "bbb2", "ccc": "ccc3", "aaa": "aaa1", "aa": "bbb4", "u0": "ccc3", "u9": "",
	} {
		h, err := findHistory(all, name)
		if err != nil || h.Pod.ID != want {
			t.Errorf("findHistory(%q) is %q, %v; want %q", name, h.Pod.ID, err, want)
		}
	}
	for _, name := range []string{"default/dns", "zzz", "bbb", "u"} {
		if h, err := findHistory(all, name); err == nil {
			t.Errorf("findHistory(%q) is %q, want an error", name, h.Pod.ID)
		}
	}
	if _, err := findHistory(nil, ""); err == nil {
		t.Error("findHistory of nothing: no error")
	}
}
