package cri

import (
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListContainerStats tells what the containers that match all of the filter use: those
// that run, and of others what their writable layers take. Containers whose VMs do not
// answer are left out.
func (s *Server) ListContainerStats(ctx context.Context, r *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	stats, err := s.listContainerStats(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListContainerStatsResponse{Stats: stats}, nil
}

// StreamContainerStats is ListContainerStats in parts.
func (s *Server) StreamContainerStats(r *runtimeapi.StreamContainerStatsRequest, out grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	stats, err := s.listContainerStats(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return inParts(stats, func(part []*runtimeapi.ContainerStats) error {
		return out.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: part})
	})
}

func (s *Server) listContainerStats(ctx context.Context, in *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	if err := checkMap("filter.label_selector", in.GetLabelSelector()); err != nil {
		return nil, err
	}
	disk, err := s.diskMountpoint(ctx)
	if err != nil {
		return nil, err
	}
	s.listed.containerAttributes.turn()
	var stats []*runtimeapi.ContainerStats
	err = s.usage.EachContainerUsage(ctx, sandbox.ContainerFilter{
		ID: in.GetId(), PodID: in.GetPodSandboxId(), Labels: in.GetLabelSelector(),
	}, func(u *sandbox.ContainerUsage) { stats = append(stats, s.containerStats(u, disk)) })
	if err != nil {
		return nil, err
	}
	return stats, nil
}
