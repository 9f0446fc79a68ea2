package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerStatus tells a container's state; verbose also its recorded config.
func (s *Server) ContainerStatus(ctx context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.container(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ContainerStatusResponse{Status: containerStatus(c)}
	s.showWindows(resp.Status)
	if r.GetVerbose() {
		resp.Info, err = verbose(map[string]any{"info": struct {
			SandboxID string `json:"sandboxID"`
			PID       int    `json:"pidInGuest"`
			Config    any    `json:"config"`
		}{c.PodID, c.PID, c.Config}})
		if err != nil {
			return nil, err
		}
	}
	return resp, nil
}
