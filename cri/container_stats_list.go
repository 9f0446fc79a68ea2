package cri

import (
	"cmp"
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListContainerStats tells what the containers that match all of the filter use: those
// that run, and of others what their writable layers take. Containers whose VMs do not
// answer are left out.
func (s *Server) ListContainerStats(ctx context.Context, r *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	e, err := s.encodeListContainerStats(ctx, r)
	return decoded(e, err, &runtimeapi.ListContainerStatsResponse{})
}

func (s *Server) encodeListContainerStats(ctx context.Context, r *runtimeapi.ListContainerStatsRequest) (*encoded, error) {
	return s.containerStats(ctx, r.GetFilter())
}

// StreamContainerStats is ListContainerStats in parts.
func (s *Server) StreamContainerStats(r *runtimeapi.StreamContainerStatsRequest, out grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	e, err := s.containerStats(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return e.inParts(out.SendMsg)
}

// containerStats are the items of either answer.
func (s *Server) containerStats(ctx context.Context, in *runtimeapi.ContainerStatsFilter) (*encoded, error) {
	if err := checkMap("filter.label_selector", in.GetLabelSelector()); err != nil {
		return nil, err
	}
	f, err := s.newFigures(ctx)
	if err != nil {
		return nil, err
	}
	s.listed.containerAttributes.turn()
	l := newList(in.GetId() != "" || in.GetPodSandboxId() != "")
	err = s.usage.EachContainerUsage(ctx, sandbox.ContainerFilter{
		ID: in.GetId(), PodID: in.GetPodSandboxId(), Labels: in.GetLabelSelector(),
	}, func(u *sandbox.ContainerUsage) { l.add(f.container(l.next(), 1, u)) })
	return l.answer(cmp.Or(err, f.err))
}
