package cri

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// PortForward returns a URL under which connections to the pod's ports are relayed.
// Without ports any may be asked for under the URL.
func (s *Server) PortForward(ctx context.Context, r *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	if len(r.GetPort()) > maxPorts {
		return nil, invalid("port", "has %d entries, at most %d are taken", len(r.GetPort()), maxPorts)
	}
	var ports []uint16
	for i, p := range r.GetPort() {
		if p < 1 || p > 65535 {
			return nil, invalid(fmt.Sprintf("port[%d]", i), "%d is not a port", p)
		}
		ports = append(ports, uint16(p))
	}
	p, err := s.pod(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if p.State != sandbox.PodReady {
		return nil, fmt.Errorf("pod sandbox %s is %s: %w", p.ID, p.State, errdefs.ErrFailedPrecondition)
	}
	url, err := s.streams.PortForwardURL(ctx, p.ID, ports)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PortForwardResponse{Url: url}, nil
}
