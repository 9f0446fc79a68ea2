package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListPodSandbox lists the pod sandboxes that match all of the filter.
func (s *Server) ListPodSandbox(ctx context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	in := r.GetFilter()
	f := sandbox.PodFilter{ID: in.GetId(), Labels: in.GetLabelSelector()}
	if err := checkMap("filter.label_selector", f.Labels); err != nil {
		return nil, err
	}
	if in.GetState() != nil {
		switch in.GetState().GetState() {
		case runtimeapi.PodSandboxState_SANDBOX_READY:
			f.State = sandbox.PodReady
		case runtimeapi.PodSandboxState_SANDBOX_NOTREADY:
			f.State = sandbox.PodNotReady
		default:
			return nil, invalid("filter.state", "%d is not a state", in.GetState().GetState())
		}
	}
	pods, err := s.pods.Pods(ctx, f)
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ListPodSandboxResponse{}
	for _, p := range pods {
		resp.Items = append(resp.Items, podItem(p))
	}
	return resp, nil
}
