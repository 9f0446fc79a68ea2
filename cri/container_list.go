package cri

import (
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListContainers lists the containers that match all of the filter.
func (s *Server) ListContainers(ctx context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	items, err := s.listContainers(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListContainersResponse{Containers: items}, nil
}

// StreamContainers is ListContainers in parts.
func (s *Server) StreamContainers(r *runtimeapi.StreamContainersRequest, out grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	items, err := s.listContainers(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return inParts(items, func(part []*runtimeapi.Container) error {
		return out.Send(&runtimeapi.StreamContainersResponse{Containers: part})
	})
}

func (s *Server) listContainers(ctx context.Context, in *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	f := sandbox.ContainerFilter{ID: in.GetId(), PodID: in.GetPodSandboxId(), Labels: in.GetLabelSelector()}
	if err := checkMap("filter.label_selector", f.Labels); err != nil {
		return nil, err
	}
	if in.GetState() != nil {
		phase, ok := phases[in.GetState().GetState()]
		if !ok {
			return nil, invalid("filter.state", "%d is not a state", in.GetState().GetState())
		}
		f.Phase = phase
	}
	s.listed.containers.turn()
	var items []*runtimeapi.Container
	err := s.containers.EachContainer(ctx, f, func(c *sandbox.Container) { items = append(items, s.listed.container(c)) })
	return items, err
}
