package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerStats tells what a container uses.
func (s *Server) ContainerStats(ctx context.Context, r *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	e, err := s.encodeContainerStats(ctx, r)
	return decoded(e, err, &runtimeapi.ContainerStatsResponse{})
}

func (s *Server) encodeContainerStats(ctx context.Context, r *runtimeapi.ContainerStatsRequest) (*encoded, error) {
	if err := checkID("container_id", r.GetContainerId()); err != nil {
		return nil, err
	}
	f, err := s.newFigures(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.usage.ContainerUsage(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	l := newList(true)
	l.add(f.container(l.next(), 1, &u))
	return l.answer(f.err)
}
