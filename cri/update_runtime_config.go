package cri

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UpdateRuntimeConfig takes the node's pod CIDR. Addresses are CNI's business and its
// configuration is the user's, so that the range is checked and nothing else is done.
func (s *Server) UpdateRuntimeConfig(_ context.Context, r *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	if cidrs := r.GetRuntimeConfig().GetNetworkConfig().GetPodCidr(); cidrs != "" {
		for i, c := range strings.Split(cidrs, ",") {
			if _, err := netip.ParsePrefix(strings.TrimSpace(c)); err != nil {
				return nil, invalid(fmt.Sprintf("runtime_config.network_config.pod_cidr[%d]", i), "%q is not a CIDR", clean(c, maxName))
			}
		}
	}
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}
