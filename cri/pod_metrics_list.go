package cri

import (
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListPodSandboxMetrics tells the metrics of ready pods and their running containers as
// of now. Pods whose VMs do not answer are left out, and so is what is not known.
func (s *Server) ListPodSandboxMetrics(ctx context.Context, r *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	e, err := s.encodeListPodSandboxMetrics(ctx, r)
	return decoded(e, err, &runtimeapi.ListPodSandboxMetricsResponse{})
}

func (s *Server) encodeListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*encoded, error) {
	return s.podMetrics(ctx)
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in parts.
func (s *Server) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, out grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	e, err := s.podMetrics(out.Context())
	if err != nil {
		return err
	}
	return e.inParts(out.SendMsg)
}

// podMetrics are the items of either answer.
func (s *Server) podMetrics(ctx context.Context) (*encoded, error) {
	l, t := newList(false), &teller{}
	err := s.usage.EachPodUsage(ctx, sandbox.PodFilter{}, true, func(u *sandbox.PodUsage) { l.add(t.pod(l.next(), 1, u)) })
	return l.answer(err)
}
