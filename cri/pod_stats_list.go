package cri

import (
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListPodSandboxStats tells what the ready pods that match all of the filter use. Pods
// whose VMs do not answer are left out.
func (s *Server) ListPodSandboxStats(ctx context.Context, r *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	stats, err := s.listPodStats(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: stats}, nil
}

// StreamPodSandboxStats is ListPodSandboxStats in parts.
func (s *Server) StreamPodSandboxStats(r *runtimeapi.StreamPodSandboxStatsRequest, out grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	stats, err := s.listPodStats(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return inParts(stats, func(part []*runtimeapi.PodSandboxStats) error {
		return out.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: part})
	})
}

func (s *Server) listPodStats(ctx context.Context, in *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	if err := checkMap("filter.label_selector", in.GetLabelSelector()); err != nil {
		return nil, err
	}
	disk, err := s.diskMountpoint(ctx)
	if err != nil {
		return nil, err
	}
	s.listed.podAttributes.turn()
	s.listed.containerAttributes.turn()
	var stats []*runtimeapi.PodSandboxStats
	err = s.usage.EachPodUsage(ctx, sandbox.PodFilter{ID: in.GetId(), Labels: in.GetLabelSelector()}, false,
		func(u *sandbox.PodUsage) { stats = append(stats, s.podStats(u, disk)) })
	if err != nil {
		return nil, err
	}
	return stats, nil
}
