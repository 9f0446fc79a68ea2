package cri

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// fillRandom sets what a guest may tell: some of what may be missing is, numbers have all
// lengths.
func fillRandom(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if r.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fillRandom(r, v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(0, r.Int64N(1<<61))))
			return
		}
		for i := range v.NumField() {
			fillRandom(r, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fillRandom(r, v.Index(i))
		}
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(r.Uint64() >> r.IntN(65) & (1<<60 - 1))
	case reflect.Int64: // durations
		v.SetInt(int64(r.Uint64() >> (4 + r.IntN(60))))
	case reflect.Float64:
		v.SetFloat(float64(r.IntN(3)) * r.Float64() * 100)
	case reflect.String:
		v.SetString([]string{"", "eth0", "sdb", "2MB", "a\xffb", "ü"}[r.IntN(6)])
	default:
		panic(v.Type())
	}
}

func randomPod(r *rand.Rand, id string) *sandbox.PodUsage {
	u := &sandbox.PodUsage{Pod: sandbox.Pod{ID: id, Config: sandbox.PodConfig{
		Name: "web", Namespace: "default", UID: "u", Labels: map[string]string{"app": id}, Annotations: map[string]string{"a": "b"}}}}
	fillRandom(r, reflect.ValueOf(&u.Usage).Elem())
	fillRandom(r, reflect.ValueOf(&u.NanoCores).Elem())
	for i := range r.IntN(4) {
		k := sandbox.ContainerUsage{Container: sandbox.Container{ID: fmt.Sprint(id, "-", i), PodID: id, StartedAt: created, Config: sandbox.ContainerConfig{
			Name: "main", Attempt: uint32(i), Image: "registry.test/web:1", Labels: map[string]string{"app": id}}}}
		fillRandom(r, reflect.ValueOf(&k.Usage).Elem())
		fillRandom(r, reflect.ValueOf(&k.NanoCores).Elem())
		u.Containers = append(u.Containers, k)
	}
	return u
}

// TestFigures_AsTheLibrary compares what figures encodes, of figures of all kinds, with the
// API's messages as the library reads them.
func TestFigures_AsTheLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		u := randomPod(r, fmt.Sprint("pod", i))
		f := &figures{listed: &listed{}, disk: "/var/lib/porthole", windows: i%2 == 0}
		l := newList(i%3 == 0)
		for range 1 + r.IntN(3) {
			l.add(f.pod(l.next(), 1, u))
		}
		e, err := l.answer(f.err)
		got, err := decoded(e, err, &runtimeapi.ListPodSandboxStatsResponse{})
		if err != nil {
			t.Fatal(err)
		}
		want := podStats(u, f.disk, f.windows)
		for _, p := range got.Stats {
			if !proto.Equal(want, p) {
				t.Fatalf("%d (-want +got):\n%s", i, cmp.Diff(want, p, protocmp.Transform()))
			}
		}
		for k := range u.Containers {
			l := newList(true)
			l.add(f.container(l.next(), 1, &u.Containers[k]))
			e, err := l.answer(f.err)
			got, err := decoded(e, err, &runtimeapi.ContainerStatsResponse{})
			if err != nil {
				t.Fatal(err)
			}
			if want := containerStats(&u.Containers[k], f.disk); !proto.Equal(want, got.Stats) {
				t.Fatalf("%d: container %d (-want +got):\n%s", i, k, cmp.Diff(want, got.Stats, protocmp.Transform()))
			}
		}
	}
}

// TestFigures_Minimal: messages are as short as the library's.
func TestFigures_Minimal(t *testing.T) {
	k := &sandbox.ContainerUsage{Container: sandbox.Container{ID: "c"}, Usage: fullUsage()}
	f := &figures{listed: &listed{}, disk: "/var/lib/porthole"}
	got := len(f.container(nil, 1, k))
	want := 1 + protowire.SizeBytes(proto.Size(containerStats(k, f.disk)))
	if got > want+large {
		t.Errorf("%d bytes, the library takes %d", got, want)
	}
}

// unknownFields are the names of messages that have fields which their types do not.
func unknownFields(m protoreflect.Message) (names []protoreflect.FullName) {
	if len(m.GetUnknown()) > 0 {
		names = append(names, m.Descriptor().FullName())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				names = append(names, unknownFields(v.List().Get(i).Message())...)
			}
		default:
			names = append(names, unknownFields(v.Message())...)
		}
		return true
	})
	return names
}

// TestMetrics_AsTheLibrary lets the library read the metrics of figures of all kinds: each
// is one of the descriptors', with its labels, the first of them the pod's or container's.
func TestMetrics_AsTheLibrary(t *testing.T) {
	descriptors := map[string]*runtimeapi.MetricDescriptor{}
	for _, m := range containerMetrics {
		descriptors[m.name] = m.descriptor()
	}
	for _, m := range podMetrics {
		descriptors[m.name] = m.descriptor()
	}
	r := rand.New(rand.NewPCG(3, 4))
	tell := &teller{}
	for i := range 100 {
		u := randomPod(r, fmt.Sprint("pod", i))
		l := newList(false)
		l.add(tell.pod(l.next(), 1, u))
		e, err := l.answer(nil)
		got, err := decoded(e, err, &runtimeapi.ListPodSandboxMetricsResponse{})
		if err != nil {
			t.Fatal(err)
		}
		if names := unknownFields(got.ProtoReflect()); len(names) > 0 || len(got.PodMetrics) != 1 {
			t.Fatalf("%d pods, unknown fields in %v", len(got.PodMetrics), names)
		}
		p := got.PodMetrics[0]
		check := func(metrics []*runtimeapi.Metric, base ...string) {
			t.Helper()
			for _, m := range metrics {
				d := descriptors[m.Name]
				if d == nil || len(m.LabelValues) != len(d.LabelKeys) || m.Value == nil {
					t.Fatalf("%v is none of the descriptors'", m)
				}
				if got := m.LabelValues[:len(base)]; !slices.Equal(got, base) {
					t.Fatalf("%s has labels %q, want %q first", m.Name, got, base)
				}
			}
		}
		if p.PodSandboxId != u.Pod.ID || len(p.ContainerMetrics) != len(u.Containers) || len(p.Metrics) != len(podMetrics)*len(u.Usage.Interfaces) {
			t.Fatalf("pod %s with %d containers and %d metrics", p.PodSandboxId, len(p.ContainerMetrics), len(p.Metrics))
		}
		check(p.Metrics, u.Pod.ID, u.Pod.ID, "", "default", "web", "POD")
		for k, c := range p.ContainerMetrics {
			id := u.Containers[k].Container.ID
			if c.ContainerId != id || len(c.Metrics) == 0 {
				t.Fatalf("container %s with %d metrics", c.ContainerId, len(c.Metrics))
			}
			check(c.Metrics, id, id, "registry.test/web:1", "default", "web", "main")
		}
	}
}

// TestEncodedMethods: a name of no method would leave the API's in its place.
func TestEncodedMethods(t *testing.T) {
	replaced := 0
	for i, m := range runtimeService().Methods {
		api := runtimeapi.RuntimeService_ServiceDesc.Methods[i]
		if m.MethodName != api.MethodName {
			t.Errorf("method %d is %s, the API's %s", i, m.MethodName, api.MethodName)
		}
		if reflect.ValueOf(m.Handler).Pointer() != reflect.ValueOf(api.Handler).Pointer() {
			replaced++
		}
	}
	if replaced != len(encodedMethods) {
		t.Errorf("%d methods of %d answer with bytes", replaced, len(encodedMethods))
	}
}

// TestEnd has messages whose length does and does not fit into the room that is left.
func TestEnd(t *testing.T) {
	for _, room := range []int{small, large} {
		for _, n := range []int{0, 1, 127, 128, 1<<14 - 1, 1 << 14, 1<<21 - 1, 1 << 21} {
			b, at := begin([]byte("x"), 1, room)
			for i := range n {
				b = append(b, byte(i))
			}
			b = end(b, at, room)
			got, size := protowire.ConsumeBytes(b[2:])
			if size != len(b)-2 || len(got) != n || n > 0 && got[n-1] != byte(n-1) {
				t.Errorf("%d bytes in room for %d: %d of %d read as %d", n, room, size, len(b)-2, len(got))
			}
		}
	}
}

// plainUsage tells of pods without making anything.
type plainUsage struct {
	Usage
	pods []*sandbox.PodUsage
}

func (p plainUsage) EachPodUsage(_ context.Context, _ sandbox.PodFilter, _ bool, do func(*sandbox.PodUsage)) error {
	for _, u := range p.pods {
		do(u)
	}
	return nil
}

func (p plainUsage) EachContainerUsage(_ context.Context, _ sandbox.ContainerFilter, do func(*sandbox.ContainerUsage)) error {
	for _, u := range p.pods {
		for i := range u.Containers {
			do(&u.Containers[i])
		}
	}
	return nil
}

// fullPods are pods of two containers with all figures, and what a kubelet gives them.
func fullPods(n int) []*sandbox.PodUsage {
	full, cores := fullUsage(), uint64(1e8)
	containers := benchContainers(2 * n)
	pods := make([]*sandbox.PodUsage, n)
	for i := range pods {
		u := &sandbox.PodUsage{NanoCores: &cores, Usage: usage.Pod{Group: full.Group, Interfaces: []usage.Interface{{Name: "eth0", RxBytes: 1}}}}
		u.Pod.ID, u.Pod.Config.Name, u.Pod.Config.Labels = containers[2*i].PodID, "web", containers[0].Config.Labels
		for _, c := range containers[2*i : 2*i+2] {
			u.Containers = append(u.Containers, sandbox.ContainerUsage{Container: c, Usage: full, NanoCores: &cores})
		}
		pods[i] = u
	}
	return pods
}

// TestFigures_Garbage: a list of figures makes next to nothing but its bytes, in buffers that
// the next one uses, however many pods there are; so its time grows as their number does.
func TestFigures_Garbage(t *testing.T) {
	for _, pods := range []int{50, 500} {
		s := newTestServer(t, newFakeNode(), nil)
		s.usage = plainUsage{pods: fullPods(pods)}
		for name, call := range figureCalls(s) {
			allocs := testing.AllocsPerRun(5, func() {
				e, err := call(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				e.bytes.Free()
			})
			// A few for the call, and for what is a thousandth of the bytes.
			if limit := float64(60 + pods/2); allocs > limit {
				t.Errorf("%s of %d pods makes %.0f objects, more than %.0f", name, pods, allocs, limit)
			}
		}
	}
}

func figureCalls(s *Server) map[string]func(context.Context) (*encoded, error) {
	return map[string]func(context.Context) (*encoded, error){
		"ListContainerStats":    func(ctx context.Context) (*encoded, error) { return s.containerStats(ctx, nil) },
		"ListPodSandboxStats":   func(ctx context.Context) (*encoded, error) { return s.podStats(ctx, nil) },
		"ListPodSandboxMetrics": s.podMetrics,
	}
}

func BenchmarkFigures(b *testing.B) {
	s := newTestServer(b, newFakeNode(), nil)
	s.usage = plainUsage{pods: fullPods(500)}
	for name, call := range figureCalls(s) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e, err := call(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(e.bytes.Len()))
				e.bytes.Free()
			}
		})
	}
	// What the client does with it.
	b.Run("DecodeListPodSandboxMetrics", func(b *testing.B) {
		e, err := s.podMetrics(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		bytes := e.bytes.Materialize()
		b.SetBytes(int64(len(bytes)))
		for b.Loop() {
			if err := proto.Unmarshal(bytes, &runtimeapi.ListPodSandboxMetricsResponse{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
