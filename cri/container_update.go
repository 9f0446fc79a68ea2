package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// UpdateContainerResources changes limits of a container that was created or runs.
// Fields that are zero stay as they are, and so does oom_score_adj: the kubelet sends a
// new one with each change, and it is of processes that run. Annotations have no meaning.
func (s *Server) UpdateContainerResources(ctx context.Context, r *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	limits, err := s.newLimits(r)
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

// newLimits reads the section that a request has. A Windows one is turned as that of a
// container's creation is.
func (s *Server) newLimits(r *runtimeapi.UpdateContainerResourcesRequest) (sandbox.Resources, error) {
	none := sandbox.Resources{}
	switch {
	case r.GetLinux() == nil && r.GetWindows() == nil:
		return none, invalid("linux", "is missing: there is nothing to change")
	case r.GetWindows() == nil:
		return resources("linux", r.GetLinux())
	case s.opts.Dialect == nil:
		return none, unbuilt("windows", "containers are Linux containers, and requests of a Windows kubelet are not turned here")
	case r.GetLinux() != nil:
		return none, invalid("windows", "is set together with linux")
	}
	turned, err := s.opts.Dialect.Limits("windows", r.GetWindows())
	if err != nil {
		return none, err
	}
	return resources("windows", turned)
}
