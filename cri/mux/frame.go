package mux

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// maxMessage is the largest message either way: what kubelet's own client takes.
const maxMessage = 16 << 20

// frame is a message as bytes.
type frame struct{ b []byte }

// frameCodec hands frames through. It has the name of the codec of messages, as they are
// what the bytes are of.
type frameCodec struct{}

func (frameCodec) Name() string { return "proto" }

func (frameCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("%T is not a frame", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(f.b)}, nil
}

func (frameCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("%T is not a frame", v)
	}
	f.b = data.Materialize()
	return nil
}

// receive returns all that the caller sends: one message but for methods that no CRI has.
func receive(s grpc.ServerStream) ([]frame, error) {
	var all []frame
	total := 0
	for {
		var f frame
		err := s.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if total += len(f.b); total > maxMessage {
			return nil, status.Errorf(codes.ResourceExhausted, "the request is larger than %d bytes", maxMessage)
		}
		all = append(all, f)
	}
}

// one returns the message of a call that has one.
func one(frames []frame) ([]byte, error) {
	if len(frames) != 1 {
		return nil, status.Errorf(codes.InvalidArgument, "the call has %d messages, not one", len(frames))
	}
	return frames[0].b, nil
}

// decode reads a request.
func decode(frames []frame, m proto.Message) error {
	b, err := one(frames)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return status.Errorf(codes.InvalidArgument, "the request cannot be read: %v", err)
	}
	return nil
}

// reply answers with a message.
func reply(s grpc.ServerStream, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return status.Errorf(codes.Internal, "encode the answer: %v", err)
	}
	return s.SendMsg(&frame{b})
}

// stringField finds a string field in a message by its number, without decoding the
// message; the last one counts, as for every decoder.
func stringField(b []byte, number protowire.Number) (string, error) {
	var found []byte
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return "", status.Errorf(codes.InvalidArgument, "the request cannot be read: %v", protowire.ParseError(size))
		}
		b = b[size:]
		if n == number && kind == protowire.BytesType {
			v, size := protowire.ConsumeBytes(b)
			if size < 0 {
				return "", status.Errorf(codes.InvalidArgument, "the request cannot be read: %v", protowire.ParseError(size))
			}
			found, b = v, b[size:]
			continue
		}
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return "", status.Errorf(codes.InvalidArgument, "the request cannot be read: %v", protowire.ParseError(size))
		}
		b = b[size:]
	}
	return string(found), nil
}
