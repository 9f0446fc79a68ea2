package main

import (
	"context"
	"fmt"
	"net"
	"path"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/test/simnode"
)

// The floor of a call is what gRPC alone takes for an answer of that many bytes: a server in
// the daemon's process that answers /floor/N with N bytes which are there already.

// floorSocket is where that server is, for a daemon's socket.
func floorSocket(daemon string) string { return daemon + ".floor" }

// serveFloor starts the server; stop ends it.
func serveFloor(socket string) (stop func() error, err error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 256<<10)
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(floorCodec{encoding.GetCodecV2("proto")}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			n, err := strconv.Atoi(path.Base(method))
			if err != nil {
				return err
			}
			if err := stream.RecvMsg(&runtimeapi.VersionRequest{}); err != nil {
				return err
			}
			var answer mem.BufferSlice
			for ; n > 0; n -= len(zeros) {
				answer = append(answer, mem.SliceBuffer(zeros[:min(n, len(zeros))]))
			}
			return stream.SendMsg(answer)
		}))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return func() error { s.Stop(); return <-served }, nil
}

// floorCodec sends bytes as they are.
type floorCodec struct{ encoding.CodecV2 }

func (c floorCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(mem.BufferSlice); ok {
		return b, nil
	}
	return c.CodecV2.Marshal(v)
}

// floor times answers of so many bytes.
func (f *fleet) floor(ctx context.Context, answer, n int) (samples, error) {
	conn, _, _, err := simnode.Dial(floorSocket(f.socket))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var got int
	c := fleetCall{call: func(ctx context.Context, _ int) error {
		err := undecoded{conn, &got}.Invoke(ctx, fmt.Sprint("/floor/", answer), &runtimeapi.VersionRequest{}, &runtimeapi.VersionResponse{})
		if err == nil && got != answer {
			err = fmt.Errorf("%d bytes in the answer, not %d", got, answer)
		}
		return err
	}}
	// The first ones find out how much the connection takes at a time, as the daemon's did.
	if _, _, err := f.time(ctx, c, 20); err != nil {
		return nil, err
	}
	took, _, err := f.time(ctx, c, n)
	return took, err
}
