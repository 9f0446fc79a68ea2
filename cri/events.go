package cri

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

var eventTypes = map[sandbox.EventKind]runtimeapi.ContainerEventType{
	sandbox.EventCreated: runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT,
	sandbox.EventStarted: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT,
	sandbox.EventStopped: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
	sandbox.EventDeleted: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT,
}

// errEnding ends streams that would last for ever when the daemon ends.
var errEnding = fmt.Errorf("the daemon ends: call again: %w", errdefs.ErrUnavailable)

// GetContainerEvents tells each change of a pod or container, in order, from now on: the
// header comes once no change can be missed. A pod is told of as a container with the
// pod's id. A client that reads more slowly than events come is ended with
// ResourceExhausted, and has to list anew.
func (s *Server) GetContainerEvents(_ *runtimeapi.GetEventsRequest, out grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	ctx, cancel := context.WithCancelCause(out.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.ending:
			cancel(errEnding)
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watched }()
	err := s.events.Events(ctx,
		func() error { return out.SendHeader(metadata.MD{}) },
		func(e sandbox.Event) error { return out.Send(containerEvent(e)) })
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func containerEvent(e sandbox.Event) *runtimeapi.ContainerEventResponse {
	out := &runtimeapi.ContainerEventResponse{
		ContainerId: e.ID, ContainerEventType: eventTypes[e.Kind], CreatedAt: e.At.UnixNano(),
		PodSandboxStatus: podStatus(e.Pod),
	}
	for _, c := range e.Containers {
		out.ContainersStatuses = append(out.ContainersStatuses, containerStatus(c))
	}
	return out
}
