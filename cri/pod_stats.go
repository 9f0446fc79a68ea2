package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodSandboxStats tells what a ready pod uses.
func (s *Server) PodSandboxStats(ctx context.Context, r *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	e, err := s.encodePodSandboxStats(ctx, r)
	return decoded(e, err, &runtimeapi.PodSandboxStatsResponse{})
}

func (s *Server) encodePodSandboxStats(ctx context.Context, r *runtimeapi.PodSandboxStatsRequest) (*encoded, error) {
	if err := checkID("pod_sandbox_id", r.GetPodSandboxId()); err != nil {
		return nil, err
	}
	f, err := s.newFigures(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.usage.PodUsage(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	l := newList(true)
	l.add(f.pod(l.next(), 1, &u))
	return l.answer(f.err)
}
