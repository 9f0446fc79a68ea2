package cri

import (
	"context"
	"fmt"
	"maps"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// Checkpoints is what Pods may be too.
type Checkpoints interface {
	// CheckpointPod saves a pod into an empty folder; on error the folder is empty again.
	CheckpointPod(ctx context.Context, podID, dir string, containerIDs []string) error
	// RestorePod makes a new pod of what was saved; on error nothing is left of it.
	RestorePod(ctx context.Context, r sandbox.RestoreConfig) (id string, containers []sandbox.RestoredContainer, err error)
}

// checkpoints finds out whether pods can be saved, and whether a call may be made: it takes
// as long as a disk takes, so that the API wants a deadline.
func (s *Server) checkpoints(ctx context.Context, call string, options map[string]string) (Checkpoints, error) {
	c, ok := s.pods.(Checkpoints)
	switch {
	case !ok:
		return nil, unbuilt(call, "pods cannot be checkpointed")
	case s.opts.Dialect != nil:
		return nil, unbuilt(call, "requests of a Windows kubelet are not turned for it")
	}
	if _, ok := ctx.Deadline(); !ok {
		return nil, invalid("deadline", "the call has none")
	}
	if len(options) > 0 {
		return nil, invalid("options", "%q is not known: there are none", clean(slices.Sorted(maps.Keys(options))[0], maxName))
	}
	return c, nil
}

// CheckpointPod saves a pod with its containers, which go on afterwards.
func (s *Server) CheckpointPod(ctx context.Context, r *runtimeapi.CheckpointPodRequest) (*runtimeapi.CheckpointPodResponse, error) {
	c, err := s.checkpoints(ctx, "CheckpointPod", r.GetOptions())
	if err != nil {
		return nil, err
	}
	if err := firstError(
		checkText("output_path", r.GetOutputPath()),
		checkCount("container_ids", len(r.GetContainerIds())),
	); err != nil {
		return nil, err
	}
	p, err := s.pod(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if err := c.CheckpointPod(ctx, p.ID, r.GetOutputPath(), r.GetContainerIds()); err != nil {
		return nil, err
	}
	return &runtimeapi.CheckpointPodResponse{}, nil
}

// RestorePod makes a pod of a checkpoint, with containers that are to be started.
func (s *Server) RestorePod(ctx context.Context, r *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	if err := s.checkHandler("runtime_handler", r.GetRuntimeHandler()); err != nil {
		return nil, err
	}
	c, err := s.checkpoints(ctx, "RestorePod", r.GetOptions())
	if err != nil {
		return nil, err
	}
	if err := firstError(
		checkText("checkpoint_path", r.GetCheckpointPath()),
		checkCount("container_configs", len(r.GetContainerConfigs())),
	); err != nil {
		return nil, err
	}
	pod, err := podConfig(r.GetConfig(), r.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	showNetwork(&pod, r.GetConfig())
	config := sandbox.RestoreConfig{Dir: r.GetCheckpointPath(), Pod: pod}
	for i, in := range r.GetContainerConfigs() {
		cc, err := containerConfig(in, pod)
		if err == nil {
			err = s.checkHandler("config.image.runtime_handler", in.GetImage().GetRuntimeHandler())
		}
		if err != nil {
			return nil, fmt.Errorf("container_configs[%d]: %w", i, err)
		}
		config.Containers = append(config.Containers, cc)
	}
	id, restored, err := c.RestorePod(ctx, config)
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.RestorePodResponse{PodSandboxId: id}
	for _, rc := range restored {
		resp.RestoredContainers = append(resp.RestoredContainers, &runtimeapi.RestoredContainer{Name: rc.Name, ContainerId: rc.ID})
	}
	return resp, nil
}

// maxCheckpointContainers bounds the containers of one call.
const maxCheckpointContainers = 1024

func checkCount(field string, n int) error {
	if n == 0 {
		return invalid(field, "is empty")
	}
	if n > maxCheckpointContainers {
		return invalid(field, "has %d elements, more than %d", n, maxCheckpointContainers)
	}
	return nil
}
