package cri

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// encodedMethods answer with an encoded. Their methods of the same name, which gRPC would
// call, answer with the message.
var encodedMethods = map[string]grpc.MethodHandler{
	"ContainerStats":        answering(runtimeapi.RuntimeService_ContainerStats_FullMethodName, (*Server).encodeContainerStats),
	"ListContainerStats":    answering(runtimeapi.RuntimeService_ListContainerStats_FullMethodName, (*Server).encodeListContainerStats),
	"PodSandboxStats":       answering(runtimeapi.RuntimeService_PodSandboxStats_FullMethodName, (*Server).encodePodSandboxStats),
	"ListPodSandboxStats":   answering(runtimeapi.RuntimeService_ListPodSandboxStats_FullMethodName, (*Server).encodeListPodSandboxStats),
	"ListPodSandboxMetrics": answering(runtimeapi.RuntimeService_ListPodSandboxMetrics_FullMethodName, (*Server).encodeListPodSandboxMetrics),
}

// runtimeService is the service as the API has it, but for encodedMethods.
func runtimeService() *grpc.ServiceDesc {
	d := runtimeapi.RuntimeService_ServiceDesc
	d.Methods = slices.Clone(d.Methods)
	for i, m := range d.Methods {
		if h := encodedMethods[m.MethodName]; h != nil {
			d.Methods[i].Handler = h
		}
	}
	return &d
}

// answering is what the API's generated code is for its methods.
func answering[Q any](fullMethod string, f func(*Server, context.Context, *Q) (*encoded, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(Q)
		if err := decode(in); err != nil {
			return nil, err
		}
		handle := func(ctx context.Context, req any) (any, error) { return f(srv.(*Server), ctx, req.(*Q)) }
		if intercept == nil {
			return handle(ctx, in)
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: fullMethod}, handle)
	}
}
