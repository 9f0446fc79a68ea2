package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim/api"
)

var _ sandbox.Checkpointer = (*Client)(nil)

// checkpointVersion is the first of the shim protocol that has checkpoints.
const checkpointVersion = 4

func (c *Client) canCheckpoint() error {
	if c.info.Protocol < checkpointVersion {
		return fmt.Errorf("the pod's VM is of an older build (%s), which has no checkpoints: make the pod anew: %w",
			c.info.Version, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// Checkpoint implements sandbox.Checkpointer. When ctx ends the shim is waited for all the
// same, as the pod must not be frozen when it returns: the shim has the same time limit.
func (c *Client) Checkpoint(ctx context.Context, s sandbox.CheckpointSetup) (sandbox.SavedPod, error) {
	if err := c.canCheckpoint(); err != nil {
		return sandbox.SavedPod{}, err
	}
	r := &api.CheckpointRequest{PodId: s.PodID, ContainerIds: s.ContainerIDs, Dir: s.Dir}
	if end, ok := ctx.Deadline(); ok {
		r.TimeoutNanos = max(int64(time.Until(end)), 1)
	}
	resp, err := call(context.WithoutCancel(ctx), c, c.api.Checkpoint, r)
	if err != nil {
		return sandbox.SavedPod{}, err
	}
	var saved sandbox.SavedPod
	if err := json.Unmarshal(resp.GetSaved(), &saved); err != nil {
		return saved, fmt.Errorf("decode saved pod: %w: %w", err, errdefs.ErrDataLoss)
	}
	return saved, ctx.Err()
}

// RestorePod implements sandbox.Checkpointer.
func (c *Client) RestorePod(ctx context.Context, p sandbox.PodRestore) error {
	if err := c.canCheckpoint(); err != nil {
		return err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode pod to restore: %w", err)
	}
	_, err = call(ctx, c, c.api.RestorePod, &api.RestorePodRequest{Restore: b})
	return err
}
