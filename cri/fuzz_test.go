package cri

import (
	"context"
	"path"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// verb is one method as gRPC sees it.
type verb struct {
	name   string
	handle grpc.MethodHandler
}

func verbs() []verb {
	var out []verb
	for _, d := range []grpc.ServiceDesc{runtimeapi.RuntimeService_ServiceDesc, runtimeapi.ImageService_ServiceDesc} {
		for _, m := range d.Methods {
			out = append(out, verb{d.ServiceName + "/" + m.MethodName, m.Handler})
		}
		for _, m := range d.Streams {
			out = append(out, verb{d.ServiceName + "/" + m.StreamName, func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if m.StreamName == "GetContainerEvents" { // which ends with its caller
					ended, cancel := context.WithCancel(ctx)
					cancel()
					ctx = ended
				}
				s := &memoryStream{ctx: ctx, decode: decode, sent: &runtimeapi.VersionResponse{}}
				return s.sent, m.Handler(srv, s)
			}})
		}
	}
	return out
}

// memoryStream is the server's end of a stream whose client sends one message.
type memoryStream struct {
	grpc.ServerStream
	ctx    context.Context
	decode func(any) error
	sent   proto.Message
}

func (s *memoryStream) Context() context.Context     { return s.ctx }
func (s *memoryStream) SendHeader(metadata.MD) error { return nil }
func (s *memoryStream) RecvMsg(m any) error          { return s.decode(m) }
func (s *memoryStream) SendMsg(m any) error          { _, err := newCodec(&listed{}).Marshal(m); return err }

// FuzzRequests decodes bytes as the request of each method and runs it over the fake:
// whatever a client sends, there is an answer that can be encoded, or an error that is
// not a panic.
func FuzzRequests(f *testing.F) {
	all := verbs()
	seeds := map[string]proto.Message{
		"RunPodSandbox":   &runtimeapi.RunPodSandboxRequest{Config: testPod(), RuntimeHandler: "big"},
		"CreateContainer": &runtimeapi.CreateContainerRequest{PodSandboxId: "pod1", Config: testContainer()},
		"ExecSync":        &runtimeapi.ExecSyncRequest{ContainerId: "c1", Cmd: []string{"true"}, Timeout: 1},
		"PullImage":       &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "registry.test/web:1"}},
	}
	for i, v := range all {
		var b []byte
		if m, ok := seeds[path.Base(v.name)]; ok {
			var err error
			if b, err = proto.Marshal(m); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		v := all[int(which)%len(all)]
		node := newFakeNode()
		runningContainer(node)
		if _, err := node.RunPod(t.Context(), mustPod(t)); err != nil {
			t.Fatal(err)
		}
		s := newTestServer(t, node, nil)
		// The handler is called without the interceptor, which would hide a panic.
		resp, err := v.handle(s, context.Background(), func(m any) error { return proto.Unmarshal(b, m.(proto.Message)) }, nil)
		if err != nil {
			_ = toStatus(err)
			return
		}
		if _, err := proto.Marshal(resp.(proto.Message)); err != nil {
			t.Errorf("%s: encode the answer: %v", v.name, err)
		}
	})
}

func mustPod(t *testing.T) sandbox.PodConfig {
	t.Helper()
	c, err := podConfig(testPod(), "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}
