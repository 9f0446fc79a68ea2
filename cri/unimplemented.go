package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The verbs that are not built. Each says so in a sentence; the kubelet does without
// all of them, as docs/cri.md says.

// CheckpointContainer answers Unimplemented.
func (s *Server) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	return nil, unbuilt("CheckpointContainer", "containers cannot be checkpointed")
}
