package cri

import (
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that codec adds to
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// codec is gRPC's own but for long lists, which the kubelet asks for all the time. What
// these say of a pod or container besides its figures hardly ever changes: it was encoded
// before, and a list is made of bytes that are there. All else is the library's.
//
// A list belongs to its call: nobody else looks at it while it is encoded. What listed has
// belongs to many, and is only read.
type codec struct {
	encoding.CodecV2
	pool   mem.BufferPool
	listed *listed
	// How many bytes an item of each list takes, by the last one.
	podSize, containerSize, containerStatsSize, podStatsSize *atomic.Int64
}

func newCodec(l *listed) codec {
	return codec{
		encoding.GetCodecV2("proto"), mem.DefaultBufferPool(), l,
		new(atomic.Int64), new(atomic.Int64), new(atomic.Int64), new(atomic.Int64),
	}
}

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *runtimeapi.ListPodSandboxResponse:
		return appendList(c.pool, m, &m.Items, c.podSize, c.appendPodSandbox)
	case *runtimeapi.ListContainersResponse:
		return appendList(c.pool, m, &m.Containers, c.containerSize, c.appendContainer)
	case *runtimeapi.ListContainerStatsResponse:
		return appendList(c.pool, m, &m.Stats, c.containerStatsSize, c.appendContainerStats)
	case *runtimeapi.ListPodSandboxStatsResponse:
		return appendList(c.pool, m, &m.Stats, c.podStatsSize, c.appendPodSandboxStats)
	}
	return c.CodecV2.Marshal(v)
}

// appendFunc appends a message's fields.
type appendFunc[T any] func(b []byte, m T) ([]byte, error)

// without does something to a message while a field of it is empty.
func without[T any](field *T, do func() error) error {
	var none T
	was := *field
	*field = none
	defer func() { *field = was }()
	return do()
}

// library returns what appends all that a message has by then to *b.
func library(b *[]byte, m proto.Message) func() error {
	return func() (err error) {
		*b, err = proto.MarshalOptions{}.MarshalAppend(*b, m)
		return err
	}
}

// appendList encodes a message whose first field is a list, into a buffer of the pool.
func appendList[T any](pool mem.BufferPool, m proto.Message, items *[]T, size *atomic.Int64, one appendFunc[T]) (mem.BufferSlice, error) {
	all := *items
	buffer := pool.Get(4096 + int(size.Load())*len(all))
	b := (*buffer)[:0]
	err := without(items, library(&b, m))
	for _, item := range all {
		if err != nil {
			break
		}
		b, err = appendMessage(b, 1, item, one)
	}
	if err != nil {
		pool.Put(buffer)
		return nil, err
	}
	if len(all) > 0 {
		size.Store(int64(len(b)/len(all) + 1))
	}
	if cap(b) > cap(*buffer) { // it had to grow, and is not the pool's any more
		pool.Put(buffer)
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	*buffer = b
	return mem.BufferSlice{mem.NewBuffer(buffer, pool)}, nil
}

// lengthRoom is what the length of a message takes that is shorter than 2 MiB.
const lengthRoom = 3

// appendMessage appends a message as a field. Its length comes first, and is known last.
func appendMessage[T any](b []byte, num protowire.Number, m T, fields appendFunc[T]) ([]byte, error) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	at := len(b)
	b, err := fields(append(b, 0, 0, 0), m)
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

func (c codec) appendPodSandbox(b []byte, m *runtimeapi.PodSandbox) ([]byte, error) {
	return c.listed.pods.append(b, m.GetId(), m)
}

func (c codec) appendContainer(b []byte, m *runtimeapi.Container) ([]byte, error) {
	return c.listed.containers.append(b, m.GetId(), m)
}

func (c codec) appendContainerStats(b []byte, m *runtimeapi.ContainerStats) ([]byte, error) {
	err := without(&m.Attributes, library(&b, m))
	if err != nil || m.Attributes == nil {
		return b, err
	}
	return appendMessage(b, 1, m.Attributes, func(b []byte, m *runtimeapi.ContainerAttributes) ([]byte, error) {
		return c.listed.containerAttributes.append(b, m.Id, m)
	})
}

func (c codec) appendPodSandboxStats(b []byte, m *runtimeapi.PodSandboxStats) ([]byte, error) {
	err := without(&m.Attributes, func() error { return without(&m.Linux, library(&b, m)) })
	if err == nil && m.Attributes != nil {
		b, err = appendMessage(b, 1, m.Attributes, func(b []byte, m *runtimeapi.PodSandboxAttributes) ([]byte, error) {
			return c.listed.podAttributes.append(b, m.Id, m)
		})
	}
	if err == nil && m.Linux != nil {
		b, err = appendMessage(b, 2, m.Linux, c.appendLinuxPodStats)
	}
	return b, err
}

func (c codec) appendLinuxPodStats(b []byte, m *runtimeapi.LinuxPodSandboxStats) ([]byte, error) {
	err := without(&m.Containers, library(&b, m))
	for _, s := range m.Containers {
		if err != nil {
			return nil, err
		}
		b, err = appendMessage(b, 5, s, c.appendContainerStats)
	}
	return b, err
}
