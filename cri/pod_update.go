package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// UpdatePodSandboxResources takes new sums of a pod's resources. A VM keeps its size while
// it runs: sums that it cannot hold are refused, and the kubelet then leaves the pod as it is.
func (s *Server) UpdatePodSandboxResources(ctx context.Context, r *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	sums, err := given("resources", r.GetResources())
	if err != nil {
		return nil, err
	}
	overhead, err := given("overhead", r.GetOverhead())
	if err != nil {
		return nil, err
	}
	p, err := s.pod(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if err := s.pods.UpdatePod(ctx, p.ID, sums, overhead); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// given converts resources that may be left out.
func given(field string, r *runtimeapi.LinuxContainerResources) (*sandbox.Resources, error) {
	if r == nil {
		return nil, nil
	}
	out, err := resources(field, r)
	return &out, err
}
