package cri

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
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
		&runtimeapi.ListContainerStatsResponse{}, &runtimeapi.ListPodSandboxStatsResponse{},
		&runtimeapi.ContainerStatusResponse{}, // the library's
	} {
		for n := range 5 {
			for depth := range 6 {
				in := m.ProtoReflect().New()
				fillAll(in, n, depth)
				in.SetUnknown([]byte{0xa0, 0x3f, 0x01}) // field 1012, of a later API
				before := proto.Clone(in.Interface())
				data, err := newCodec().Marshal(in.Interface())
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

// TestCodec_Large has an item whose length does not fit into the room that is left for it.
func TestCodec_Large(t *testing.T) {
	for _, size := range []int{1, 127, 128, 1<<14 - 1, 1 << 14, 1<<21 - 200, 1 << 21, 3 << 20} {
		in := &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{
			{Id: "a", Labels: map[string]string{"k": strings.Repeat("v", size)}}, {Id: "b"},
		}}
		data, err := newCodec().Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var out runtimeapi.ListContainersResponse
		if err := proto.Unmarshal(data.Materialize(), &out); err != nil || !proto.Equal(in, &out) {
			t.Errorf("an item of %d bytes: %v", size, err)
		}
	}
}

func BenchmarkCodec_ListContainers(b *testing.B) {
	m := &runtimeapi.ListContainersResponse{}
	for i := range 1000 {
		c := &runtimeapi.Container{Id: fmt.Sprint(i), Labels: map[string]string{}, Annotations: map[string]string{}}
		for j := range 5 {
			c.Labels[fmt.Sprint("io.kubernetes.label.", j)] = "value"
			c.Annotations[fmt.Sprint("io.kubernetes.annotation.", j)] = "value"
		}
		m.Containers = append(m.Containers, c)
	}
	b.Run("codec", func(b *testing.B) {
		for b.Loop() {
			if _, err := newCodec().Marshal(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		for b.Loop() {
			if _, err := proto.Marshal(m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
