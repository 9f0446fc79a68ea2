package cri

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// fillAll sets each field of a message, and of those in it, lists and maps with n entries.
func fillAll(m protoreflect.Message, n, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		value := func(k int) protoreflect.Value {
			switch f.Kind() {
			case protoreflect.StringKind:
				return protoreflect.ValueOfString(fmt.Sprintf("%s-%d-ü", f.Name(), k))
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte{byte(k), 0xff})
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(true)
			case protoreflect.EnumKind:
				return protoreflect.ValueOfEnum(1)
			case protoreflect.Int32Kind:
				return protoreflect.ValueOfInt32(-int32(i + 1))
			case protoreflect.Int64Kind:
				return protoreflect.ValueOfInt64(-int64(i + 1))
			case protoreflect.Uint32Kind:
				return protoreflect.ValueOfUint32(uint32(i + 1))
			case protoreflect.Uint64Kind:
				return protoreflect.ValueOfUint64(1<<40 + uint64(i))
			case protoreflect.DoubleKind:
				return protoreflect.ValueOfFloat64(1.5)
			}
			panic(f.FullName())
		}
		switch {
		case f.IsMap():
			for k := range n {
				m.Mutable(f).Map().Set(protoreflect.ValueOfString(fmt.Sprintf("%s/%d", f.Name(), k)).MapKey(),
					protoreflect.ValueOfString(strings.Repeat("v", k*40)))
			}
		case f.IsList() && f.Message() != nil:
			for range n {
				if depth > 0 {
					fillAll(m.Mutable(f).List().AppendMutable().Message(), n, depth-1)
				}
			}
		case f.IsList():
			for k := range n {
				m.Mutable(f).List().Append(value(k))
			}
		case f.Message() != nil:
			if depth > 0 {
				fillAll(m.Mutable(f).Message(), n, depth-1)
			}
		default:
			m.Set(f, value(0))
		}
	}
}

// TestCodec_AsTheLibrary encodes lists with each field set, and with none, and lets the
// library decode them.
func TestCodec_AsTheLibrary(t *testing.T) {
	for _, m := range []proto.Message{
		&runtimeapi.ListPodSandboxResponse{}, &runtimeapi.ListContainersResponse{},
		&runtimeapi.ContainerStatusResponse{}, // the library's
	} {
		for n := range 5 {
			for depth := range 6 {
				in := m.ProtoReflect().New()
				fillAll(in, n, depth)
				in.SetUnknown([]byte{0xa0, 0x3f, 0x01}) // field 1012, of a later API
				before := proto.Clone(in.Interface())
				data, err := newCodec(&listed{}).Marshal(in.Interface())
				if err != nil {
					t.Fatal(err)
				}
				if !proto.Equal(before, in.Interface()) {
					t.Errorf("%T is not as it was", m)
				}
				out := m.ProtoReflect().New().Interface()
				if err := proto.Unmarshal(data.Materialize(), out); err != nil {
					t.Fatalf("%T with %d: %v", m, n, err)
				}
				if !proto.Equal(before, out) {
					t.Errorf("%T with %d entries came out as\n%v\nnot as\n%v", m, n, out, before)
				}
			}
		}
	}
}

// TestCodec_Kept lists pods and containers while they change and go, and compares with what
// the library makes of messages that were not kept.
func TestCodec_Kept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listed{}
		c := newCodec(l)
		f := &figures{listed: l, disk: "/disk"}
		answer := func(l *list) *encoded {
			t.Helper()
			e, err := l.answer(f.err)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		check := func(got any, want proto.Message) {
			t.Helper()
			data, err := c.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			defer data.Free()
			out := want.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(data.Materialize(), out); err != nil || !proto.Equal(out, want) {
				t.Errorf("%v: listed as\n%v\nnot as\n%v", err, out, want)
			}
		}
		containers := benchContainers(4)
		pods := make([]sandbox.Pod, 2)
		for i := range pods {
			pods[i].ID, pods[i].State, pods[i].Config.Name = containers[2*i].PodID, sandbox.PodReady, "p"
			pods[i].Config.Labels = map[string]string{"app": fmt.Sprint(i)}
		}
		list := func() {
			t.Helper()
			gotPods, wantPods := &runtimeapi.ListPodSandboxResponse{}, &runtimeapi.ListPodSandboxResponse{}
			gotStats, wantStats := newList(false), &runtimeapi.ListPodSandboxStatsResponse{}
			for i := range pods {
				p := &pods[i]
				gotPods.Items, wantPods.Items = append(gotPods.Items, l.pod(p)), append(wantPods.Items, podItem(p, podState(p.State)))
				u := &sandbox.PodUsage{Pod: *p}
				gotStats.add(f.pod(gotStats.next(), 1, u))
				wantStats.Stats = append(wantStats.Stats, podStats(u, "/disk", false))
			}
			check(gotPods, wantPods)
			check(answer(gotStats), wantStats)
			got, want := &runtimeapi.ListContainersResponse{}, &runtimeapi.ListContainersResponse{}
			gotUsed, wantUsed := newList(false), &runtimeapi.ListContainerStatsResponse{}
			for i := range containers {
				k := &containers[i]
				got.Containers = append(got.Containers, l.container(k))
				want.Containers = append(want.Containers, containerItem(k, containerState(k.Phase)))
				u := &sandbox.ContainerUsage{Container: *k, Usage: fullUsage()}
				gotUsed.add(f.container(gotUsed.next(), 1, u))
				wantUsed.Stats = append(wantUsed.Stats, containerStats(u, "/disk"))
			}
			check(got, want)
			check(answer(gotUsed), wantUsed)
		}
		list()
		first := l.container(&containers[0])
		if l.container(&containers[0]) != first {
			t.Error("a message was made again though nothing has changed")
		}
		containers[0].Phase, pods[1].State = sandbox.ContainerExited, sandbox.PodNotReady
		list()
		if l.container(&containers[0]) == first {
			t.Error("a message is the same though the state has changed")
		}
		// One that is no longer listed is let go of, the others stay.
		stays := l.container(&containers[1])
		gone := containers[3].ID
		containers = containers[:3]
		for range 3 {
			time.Sleep(keptFor + time.Second)
			l.containers.turn()
			list()
		}
		if _, ok := l.containers.now[gone]; ok || l.containers.last[gone].v.m != nil || len(l.containers.now) != 3 {
			t.Errorf("%d containers are kept, and some of what is gone", len(l.containers.now))
		}
		if l.container(&containers[1]) != stays {
			t.Error("a message that is listed was let go of")
		}
	})
}

// TestCodec_Large has an item that is larger than a buffer.
func TestCodec_Large(t *testing.T) {
	for _, size := range []int{1, 127, 128, 1<<14 - 1, 1 << 14, 1<<21 - 200, 1 << 21, 3 << 20} {
		in := &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{
			{Id: "a", Labels: map[string]string{"k": strings.Repeat("v", size)}}, {Id: "b"},
		}}
		data, err := newCodec(&listed{}).Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var out runtimeapi.ListContainersResponse
		if err := proto.Unmarshal(data.Materialize(), &out); err != nil || !proto.Equal(in, &out) {
			t.Errorf("an item of %d bytes: %v", size, err)
		}
	}
}

// benchContainers are as a node's: with the labels and annotations that the kubelet gives.
func benchContainers(n int) []sandbox.Container {
	all := make([]sandbox.Container, n)
	for i := range all {
		c := &all[i]
		c.ID, c.PodID, c.Phase = fmt.Sprintf("%064d", i), fmt.Sprintf("%064d", i/2), sandbox.ContainerRunning
		c.Config.Name, c.Config.Image = "main", "registry.example/app:1"
		c.Config.Labels, c.Config.Annotations = map[string]string{}, map[string]string{}
		for j := range 5 {
			c.Config.Labels[fmt.Sprint("io.kubernetes.label.", j)] = "value"
			c.Config.Annotations[fmt.Sprint("io.kubernetes.annotation.", j)] = "value"
		}
	}
	return all
}

func BenchmarkCodec_ListContainers(b *testing.B) {
	all := benchContainers(1000)
	l := &listed{}
	c := newCodec(l)
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := &runtimeapi.ListContainersResponse{}
			for i := range all {
				m.Containers = append(m.Containers, l.container(&all[i]))
			}
			data, err := c.Marshal(m)
			if err != nil {
				b.Fatal(err)
			}
			data.Free()
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := &runtimeapi.ListContainersResponse{}
			for i := range all {
				m.Containers = append(m.Containers, containerItem(&all[i], runtimeapi.ContainerState_CONTAINER_RUNNING))
			}
			if _, err := proto.Marshal(m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
