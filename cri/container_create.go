package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer makes a container in a pod sandbox. The request's copy of the pod's
// config is not read: the one that RunPodSandbox recorded counts.
func (s *Server) CreateContainer(ctx context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	p, err := s.pod(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	c, err := s.containerConfig(ctx, r.GetConfig(), p)
	if err != nil {
		return nil, err
	}
	if err := s.checkHandler("config.image.runtime_handler", r.GetConfig().GetImage().GetRuntimeHandler()); err != nil {
		return nil, err
	}
	id, err := s.containers.CreateContainer(ctx, p.ID, c)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}
