package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/logkey"
)

// rule answers the calls of one method.
type rule func(ctx context.Context, method string, in []frame, out grpc.ServerStream) error

// makeRules has a rule for each method of the CRI by its full name. Calls whose request
// names a pod or a container go to its side; the others are listed.
func (m *Mux) makeRules() map[string]rule {
	rules := map[string]rule{}
	services := runtimeapi.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			d := methods.Get(j)
			name := "/" + string(services.Get(i).FullName()) + "/" + string(d.Name())
			switch {
			case d.IsStreamingServer() && d.Name() != "GetContainerEvents":
				rules[name] = notStreamed
			case d.Input().Fields().ByName("container_id") != nil:
				rules[name] = m.byField(d.Input().Fields().ByName("container_id").Number(), m.containerOwner)
			case d.Input().Fields().ByName("pod_sandbox_id") != nil:
				rules[name] = m.byField(d.Input().Fields().ByName("pod_sandbox_id").Number(), m.podOwner)
			case d.Input().Fields().ByName("runtime_handler") != nil: // RestorePod
				rules[name] = m.byField(d.Input().Fields().ByName("runtime_handler").Number(),
					func(_ context.Context, handler string) (*side, error) { return m.handlerOwner(handler), nil })
			}
		}
	}
	runtime, images := "/"+runtimeapi.RuntimeService_ServiceDesc.ServiceName+"/", "/"+runtimeapi.ImageService_ServiceDesc.ServiceName+"/"
	for name, r := range map[string]rule{
		"RunPodSandbox": m.runPod, "CreateContainer": m.createContainer,
		"RemovePodSandbox": m.removePod, "RemoveContainer": m.removeContainer,
		"ListPodSandbox": m.listPods, "ListContainers": m.listContainers,
		"ListContainerStats": m.listContainerStats, "ListPodSandboxStats": m.listPodStats,
		"ListMetricDescriptors": m.listMetricDescriptors, "ListPodSandboxMetrics": m.listPodMetrics,
		"Version": m.version, "Status": m.status, "RuntimeConfig": m.runtimeConfig, "UpdateRuntimeConfig": m.updateRuntimeConfig,
		"GetContainerEvents": m.events,
	} {
		rules[runtime+name] = r
	}
	for name, r := range map[string]rule{
		"ListImages": m.listImages, "ImageStatus": m.imageStatus, "PullImage": m.pullImage,
		"RemoveImage": m.removeImage, "ImageFsInfo": m.imageFsInfo,
	} {
		rules[images+name] = r
	}
	return rules
}

// handle answers all calls. What no rule is for is newer than this build and so than our
// own runtime: it is upstream's.
func (m *Mux) handle(_ any, out grpc.ServerStream) (err error) {
	ctx := out.Context()
	method, ok := grpc.MethodFromServerStream(out)
	if !ok {
		return status.Error(codes.Internal, "the call has no method")
	}
	defer func() {
		if p := recover(); p != nil {
			m.log.Error("panic in a cri call", logkey.Method, path.Base(method), logkey.Error, fmt.Sprint(p), logkey.Stack, string(debug.Stack()))
			err = status.Errorf(codes.Internal, "panic: %v", p)
		}
	}()
	in, err := receive(out)
	if err != nil {
		return err
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md.Copy())
	}
	if r := m.rules[method]; r != nil {
		err = r(ctx, method, in, out)
	} else {
		_, err = m.pass(ctx, m.upstream(), method, in, out)
	}
	// A status keeps its code and details; what is none is ours to blame.
	if _, ok := status.FromError(err); err != nil && !ok {
		return status.FromContextError(err).Err()
	}
	return err
}

// pass hands a call to a side and its answer back, as they are. It returns the last
// message of the answer.
func (m *Mux) pass(ctx context.Context, s *side, method string, in []frame, out grpc.ServerStream) (last frame, err error) {
	if s == m.upstream() && m.log.Enabled(ctx, slog.LevelDebug) {
		start := time.Now()
		defer func() {
			m.log.Debug("cri call passed upstream", logkey.Method, path.Base(method), logkey.Code, status.Code(err).String(), logkey.Duration, time.Since(start))
		}()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream, should the caller be gone
	call, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(frameCodec{}))
	if err != nil {
		return frame{}, s.annotate(err)
	}
	for i := range in {
		// io.EOF: the answer is there before the request was read; RecvMsg has it.
		if err := call.SendMsg(&in[i]); err != nil && !errors.Is(err, io.EOF) {
			return frame{}, s.annotate(err)
		}
	}
	if err := call.CloseSend(); err != nil {
		return frame{}, s.annotate(err)
	}
	for {
		var f frame
		err := call.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			out.SetTrailer(call.Trailer())
			return last, nil
		}
		if err != nil {
			return frame{}, s.annotate(err)
		}
		if err := out.SendMsg(&f); err != nil {
			return frame{}, err
		}
		last = f
	}
}

// annotate says which side is meant where that is not reached; what a side answered
// stays as it is.
func (s *side) annotate(err error) error {
	if st, ok := status.FromError(err); ok && st.Code() == codes.Unavailable && len(st.Details()) == 0 {
		return status.Errorf(codes.Unavailable, "%s: %s", s.name, st.Message())
	}
	return err
}

// byField passes calls to the owner of what a string field of the request names.
func (m *Mux) byField(number protowire.Number, owner func(context.Context, string) (*side, error)) rule {
	return func(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
		_, _, err := m.toOwner(ctx, method, in, out, number, owner)
		return err
	}
}

func (m *Mux) toOwner(ctx context.Context, method string, in []frame, out grpc.ServerStream,
	number protowire.Number, owner func(context.Context, string) (*side, error)) (s *side, id string, err error) {
	b, err := one(in)
	if err != nil {
		return nil, "", err
	}
	if id, err = stringField(b, number); err != nil {
		return nil, "", err
	}
	if s, err = owner(ctx, id); err != nil {
		return nil, "", err
	}
	_, err = m.pass(ctx, s, method, in, out)
	return s, id, err
}

// handlerOwner is the side that a runtime handler runs on.
func (m *Mux) handlerOwner(handler string) *side {
	switch {
	case handler == "":
		return m.fallback
	case slices.Contains(m.handlers, handler):
		return m.ours()
	}
	return m.upstream()
}

func notStreamed(context.Context, string, []frame, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "lists of two runtimes are not streamed; ask for them at once")
}
