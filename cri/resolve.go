package cri

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// pod finds a pod by its id, or by the start of it if that is of one pod only.
func (s *Server) pod(ctx context.Context, id string) (sandbox.Pod, error) {
	if err := checkID("pod_sandbox_id", id); err != nil {
		return sandbox.Pod{}, err
	}
	return s.pods.Pod(ctx, id)
}

// container finds a container as pod does a pod.
func (s *Server) container(ctx context.Context, id string) (sandbox.Container, error) {
	if err := checkID("container_id", id); err != nil {
		return sandbox.Container{}, err
	}
	return s.containers.Container(ctx, id)
}

// running finds a container and makes sure that it runs.
func (s *Server) running(ctx context.Context, id string) (sandbox.Container, error) {
	c, err := s.container(ctx, id)
	if err == nil && c.Phase != sandbox.ContainerRunning {
		err = fmt.Errorf("container %s is %s, not running: %w", c.ID, c.Phase, errdefs.ErrFailedPrecondition)
	}
	return c, err
}

// gone makes success of a NotFound error: what is gone is stopped and removed.
func gone(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
