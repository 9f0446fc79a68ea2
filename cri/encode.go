package cri

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that codec adds to
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// codec is gRPC's own but for long lists. Labels and annotations are most of what these
// hold, and the protobuf library goes through each entry of a map by reflection, twice:
// with a full node that was most of a list's time. Here they are taken out of each item,
// which the library encodes as always, and written behind it, as the order of fields has
// no meaning. All other fields, those of a later API too, are the library's.
//
// A message belongs to its call: nobody else looks at it while it is encoded.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	var b []byte
	var err error
	switch m := v.(type) {
	case *runtimeapi.ListPodSandboxResponse:
		b, err = appendList(m, &m.Items, appendPodSandbox)
	case *runtimeapi.ListContainersResponse:
		b, err = appendList(m, &m.Containers, appendContainer)
	case *runtimeapi.ListContainerStatsResponse:
		b, err = appendList(m, &m.Stats, appendContainerStats)
	case *runtimeapi.ListPodSandboxStatsResponse:
		b, err = appendList(m, &m.Stats, appendPodSandboxStats)
	default:
		return c.CodecV2.Marshal(v)
	}
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// appendFunc appends a message's fields.
type appendFunc[T any] func(b []byte, m T) ([]byte, error)

// without encodes a message while a field of it is empty.
func without[T any](b []byte, field *T, then func([]byte) ([]byte, error)) ([]byte, error) {
	var none T
	kept := *field
	*field = none
	defer func() { *field = kept }()
	return then(b)
}

// appendList encodes a message whose first field is a list.
func appendList[T any](m proto.Message, items *[]T, one appendFunc[T]) ([]byte, error) {
	all := *items
	b, err := without(make([]byte, 0, 512*len(all)), items, library(m))
	for _, item := range all {
		if err != nil {
			return nil, err
		}
		b, err = appendMessage(b, 1, item, one)
	}
	return b, err
}

// library encodes all of a message.
func library(m proto.Message) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(b, m) }
}

// lengthRoom is what the length of a message takes that is shorter than 2 MiB.
const lengthRoom = 3

// appendMessage appends a message as a field. Its length comes first, and is known last.
func appendMessage[T any](b []byte, num protowire.Number, m T, fields appendFunc[T]) ([]byte, error) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	at := len(b)
	b, err := fields(append(b, make([]byte, lengthRoom)...), m)
	if err != nil {
		return nil, err
	}
	n := len(b) - at - lengthRoom
	if n >= 1<<(7*lengthRoom) {
		return protowire.AppendBytes(b[:at], append([]byte(nil), b[at+lengthRoom:]...)), nil
	}
	// A number may be written longer than it has to be.
	b[at], b[at+1], b[at+2] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)
	return b, nil
}

// appendMap appends the entries of a map. They were checked when they came: text is UTF-8.
func appendMap(b []byte, num protowire.Number, m map[string]string) []byte {
	for k, v := range m {
		b = protowire.AppendTag(b, num, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(2+protowire.SizeBytes(len(k))+protowire.SizeBytes(len(v))))
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), k)
		b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), v)
	}
	return b
}

// labeled appends a message that has labels and annotations.
func labeled(b []byte, m proto.Message, labelsNum, annotationsNum protowire.Number, labels, annotations *map[string]string) ([]byte, error) {
	b, err := without(b, labels, func(b []byte) ([]byte, error) { return without(b, annotations, library(m)) })
	return appendMap(appendMap(b, labelsNum, *labels), annotationsNum, *annotations), err
}

func appendPodSandbox(b []byte, m *runtimeapi.PodSandbox) ([]byte, error) {
	return labeled(b, m, 5, 6, &m.Labels, &m.Annotations)
}

func appendContainer(b []byte, m *runtimeapi.Container) ([]byte, error) {
	return labeled(b, m, 8, 9, &m.Labels, &m.Annotations)
}

func appendContainerAttributes(b []byte, m *runtimeapi.ContainerAttributes) ([]byte, error) {
	return labeled(b, m, 3, 4, &m.Labels, &m.Annotations)
}

func appendPodSandboxAttributes(b []byte, m *runtimeapi.PodSandboxAttributes) ([]byte, error) {
	return labeled(b, m, 3, 4, &m.Labels, &m.Annotations)
}

func appendContainerStats(b []byte, m *runtimeapi.ContainerStats) ([]byte, error) {
	b, err := without(b, &m.Attributes, library(m))
	if err != nil || m.Attributes == nil {
		return b, err
	}
	return appendMessage(b, 1, m.Attributes, appendContainerAttributes)
}

func appendPodSandboxStats(b []byte, m *runtimeapi.PodSandboxStats) ([]byte, error) {
	b, err := without(b, &m.Attributes, func(b []byte) ([]byte, error) { return without(b, &m.Linux, library(m)) })
	if err == nil && m.Attributes != nil {
		b, err = appendMessage(b, 1, m.Attributes, appendPodSandboxAttributes)
	}
	if err == nil && m.Linux != nil {
		b, err = appendMessage(b, 2, m.Linux, appendLinuxPodStats)
	}
	return b, err
}

func appendLinuxPodStats(b []byte, m *runtimeapi.LinuxPodSandboxStats) ([]byte, error) {
	b, err := without(b, &m.Containers, library(m))
	for _, c := range m.Containers {
		if err != nil {
			return nil, err
		}
		b, err = appendMessage(b, 5, c, appendContainerStats)
	}
	return b, err
}
