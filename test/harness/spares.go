package harness

import (
	"context"
	"encoding/json"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Spares is how many VMs are ready that no pod has, as a verbose Status tells.
func (s *Server) Spares(ctx context.Context) (int, error) {
	r, err := s.Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return 0, err
	}
	var out struct {
		Status struct{ Spares int } `json:"status"`
	}
	return out.Status.Spares, json.Unmarshal([]byte(r.Info["spares"]), &out)
}
