package cri

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Status says whether pods can run and get addresses, and what handlers can do.
func (s *Server) Status(ctx context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	var ready error
	if s.opts.Ready != nil {
		ready = s.opts.Ready(ctx)
	}
	resp := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			condition("RuntimeReady", "RuntimeNotReady", ready),
			condition("NetworkReady", "NetworkPluginNotReady", s.network.NetworkReady(ctx)),
		}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true, MountOptions: true},
	}
	for _, name := range slices.Sorted(maps.Keys(s.handlers)) {
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimeapi.RuntimeHandler{
			Name: name, Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true, UserNamespaces: true},
		})
	}
	if r.GetVerbose() && s.opts.Info != nil {
		info, err := verbose(s.opts.Info(ctx))
		if err != nil {
			return nil, err
		}
		resp.Info = info
	}
	return resp, nil
}

// condition is true without a reason, or false with one and the error as its message.
func condition(kind, reason string, err error) *runtimeapi.RuntimeCondition {
	if err == nil {
		return &runtimeapi.RuntimeCondition{Type: kind, Status: true}
	}
	return &runtimeapi.RuntimeCondition{Type: kind, Reason: reason, Message: clean(err.Error(), maxErrorText)}
}

// verbose turns values into the JSON texts that verbose answers carry.
func verbose(values map[string]any) (map[string]string, error) {
	out := make(map[string]string, len(values))
	for k, v := range values {
		if raw, ok := v.(json.RawMessage); ok && len(raw) == 0 {
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode verbose %s: %w", k, err)
		}
		out[k] = clean(string(b), maxMessage/4)
	}
	return out, nil
}
