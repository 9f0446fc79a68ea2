package cri

import (
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListPodSandbox lists the pod sandboxes that match all of the filter.
func (s *Server) ListPodSandbox(ctx context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	items, err := s.listPods(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListPodSandboxResponse{Items: items}, nil
}

// StreamPodSandboxes is ListPodSandbox in parts.
func (s *Server) StreamPodSandboxes(r *runtimeapi.StreamPodSandboxesRequest, out grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	items, err := s.listPods(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return inParts(items, func(part []*runtimeapi.PodSandbox) error {
		return out.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: part})
	})
}

func (s *Server) listPods(ctx context.Context, in *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
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
	s.listed.pods.turn()
	var items []*runtimeapi.PodSandbox
	err := s.pods.EachPod(ctx, f, func(p *sandbox.Pod) { items = append(items, s.listed.pod(p)) })
	return items, err
}
