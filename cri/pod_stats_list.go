package cri

import (
	"cmp"
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListPodSandboxStats tells what the ready pods that match all of the filter use. Pods
// whose VMs do not answer are left out.
func (s *Server) ListPodSandboxStats(ctx context.Context, r *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	e, err := s.encodeListPodSandboxStats(ctx, r)
	return decoded(e, err, &runtimeapi.ListPodSandboxStatsResponse{})
}

func (s *Server) encodeListPodSandboxStats(ctx context.Context, r *runtimeapi.ListPodSandboxStatsRequest) (*encoded, error) {
	return s.podStats(ctx, r.GetFilter())
}

// StreamPodSandboxStats is ListPodSandboxStats in parts.
func (s *Server) StreamPodSandboxStats(r *runtimeapi.StreamPodSandboxStatsRequest, out grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	e, err := s.podStats(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return e.inParts(out.SendMsg)
}

// podStats are the items of either answer.
func (s *Server) podStats(ctx context.Context, in *runtimeapi.PodSandboxStatsFilter) (*encoded, error) {
	if err := checkMap("filter.label_selector", in.GetLabelSelector()); err != nil {
		return nil, err
	}
	f, err := s.newFigures(ctx)
	if err != nil {
		return nil, err
	}
	s.listed.podAttributes.turn()
	s.listed.containerAttributes.turn()
	l := newList(in.GetId() != "")
	err = s.usage.EachPodUsage(ctx, sandbox.PodFilter{ID: in.GetId(), Labels: in.GetLabelSelector()}, false,
		func(u *sandbox.PodUsage) { l.add(f.pod(l.next(), 1, u)) })
	return l.answer(cmp.Or(err, f.err))
}
