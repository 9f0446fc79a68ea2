package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Templates is what a server says of its templates.
type Templates struct {
	Used   bool `json:"used"`
	Status struct {
		Classes []struct {
			VCPUs     int    `json:"vcpus"`
			MemoryMiB int    `json:"memoryMiB"`
			State     string `json:"state"`
			Template  string `json:"template"`
			Bytes     int64  `json:"bytes"`
			Error     string `json:"error"`
		} `json:"classes"`
		Counts struct{ Clones, Boots, Fallbacks int } `json:"counts"`
	} `json:"status"`
}

// Templates asks for a verbose Status.
func (s *Server) Templates(ctx context.Context) (Templates, error) {
	var out Templates
	r, err := s.Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal([]byte(r.Info["templates"]), &out)
}

// AwaitTemplates waits until each template is made or cannot be.
func (s *Server) AwaitTemplates(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := s.Templates(ctx)
		if err != nil {
			return err
		}
		waiting := false
		for _, c := range st.Status.Classes {
			waiting = waiting || c.State == "waiting"
		}
		if !waiting {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("templates are not made: %w: %+v", ctx.Err(), st)
		}
	}
}
