package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListContainers lists the containers that match all of the filter.
func (s *Server) ListContainers(ctx context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	in := r.GetFilter()
	f := sandbox.ContainerFilter{ID: in.GetId(), PodID: in.GetPodSandboxId(), Labels: in.GetLabelSelector()}
	if err := checkMap("filter.label_selector", f.Labels); err != nil {
		return nil, err
	}
	if in.GetState() != nil {
		phase, ok := phases[in.GetState().GetState()]
		if !ok {
			return nil, invalid("filter.state", "%d is not a state", in.GetState().GetState())
		}
		f.Phase = phase
	}
	all, err := s.containers.Containers(ctx, f)
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ListContainersResponse{}
	for _, c := range all {
		resp.Containers = append(resp.Containers, containerItem(c))
	}
	return resp, nil
}
