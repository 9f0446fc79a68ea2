package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodSandboxStatus tells a pod sandbox's state and addresses; verbose also its VM.
func (s *Server) PodSandboxStatus(ctx context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	p, err := s.pod(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.PodSandboxStatusResponse{Status: podStatus(p)}
	if r.GetVerbose() {
		resp.Info, err = verbose(map[string]any{"info": struct {
			Config any    `json:"config"`
			NetNS  string `json:"netns,omitempty"`
			Reason string `json:"reason,omitempty"`
			// Why the VM is not in the pod's control group of the host.
			Ungrouped string `json:"ungrouped,omitempty"`
			Shim      any    `json:"shim"`
			Handler   string `json:"runtimeHandler"`
			VM        string `json:"vm"` // which pods that share one have in common
		}{p.Config, p.NetNS, p.Reason, p.Ungrouped, p.Shim, p.Config.RuntimeHandler, p.VM}})
		if err != nil {
			return nil, err
		}
	}
	return resp, nil
}
