package cri

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that codec adds to
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// codec is gRPC's own but for long lists, which the kubelet asks for all the time. What
// these say of a pod or container hardly ever changes: it was encoded before, and a list is
// made of bytes that are there. Figures come as an encoded. All else is the library's.
//
// A list belongs to its call: nobody else looks at it while it is encoded. What listed has
// belongs to many, and is only read.
type codec struct {
	encoding.CodecV2
	listed *listed
}

func newCodec(l *listed) codec { return codec{encoding.GetCodecV2("proto"), l} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *encoded:
		return m.bytes, nil
	case *runtimeapi.ListPodSandboxResponse:
		return marshalList(m, &m.Items, c.listed.pods.fields)
	case *runtimeapi.ListContainersResponse:
		return marshalList(m, &m.Containers, c.listed.containers.fields)
	}
	return c.CodecV2.Marshal(v)
}

// marshalList encodes a message whose first field is a list of what fields encodes.
func marshalList[T any](m proto.Message, items *[]T, fields func(T) ([]byte, error)) (mem.BufferSlice, error) {
	l := newList(len(*items) <= fewItems)
	b, err := marshalWithout(m, items)
	if len(b) > 0 {
		l.add(append(l.next(), b...))
	}
	for _, item := range *items {
		if err != nil {
			break
		}
		b, err = fields(item)
		l.add(protowire.AppendBytes(protowire.AppendTag(l.next(), 1, protowire.BytesType), b))
	}
	e, err := l.answer(err)
	if err != nil {
		return nil, err
	}
	return e.bytes, nil
}

// marshalWithout lets the library encode what a message has besides its list.
func marshalWithout[T any](m proto.Message, items *[]T) ([]byte, error) {
	all := *items
	*items = nil
	defer func() { *items = all }()
	return proto.Marshal(m)
}
