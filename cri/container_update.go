package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UpdateContainerResources changes limits of a container that was created or runs.
// Fields that are zero stay as they are, and so does oom_score_adj: the kubelet sends a
// new one with each change, and it is of processes that run. Annotations have no meaning.
func (s *Server) UpdateContainerResources(ctx context.Context, r *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	if r.GetWindows() != nil {
		return nil, unbuilt("windows", "containers are Linux containers")
	}
	if r.GetLinux() == nil {
		return nil, invalid("linux", "is missing: there is nothing to change")
	}
	limits, err := resources("linux", r.GetLinux())
	if err != nil {
		return nil, err
	}
	c, err := s.container(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	if err := s.containers.UpdateContainer(ctx, c.ID, limits); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}
