//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/phase"
)

// begunPod finds a pod that CreatePod was to begin; nil: there is none.
func (a *Agent) begunPod(id string) *pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.pods[id]; p != nil && p.twoSteps {
		return p
	}
	return nil
}

// finishBegun does the second half of CreatePod. On error nothing is left of the pod, or it
// is left for RemovePod.
func (a *Agent) finishBegun(ctx context.Context, p *pod, r *api.CreatePodRequest, interfaces []podns.Interface) error {
	p.ready.Lock()
	defer p.ready.Unlock()
	switch {
	case p.pause != nil:
		return fmt.Errorf("pod %q: %w", p.id, errdefs.ErrAlreadyExists)
	case p.begun == nil:
		return fmt.Errorf("pod %q, which was begun, is gone: %w", p.id, errdefs.ErrNotFound)
	}
	p.interfaces = interfaces
	step := phase.Steps(ctx)
	err := a.finishPod(ctx, p, p.begun, r, step)
	step("")
	if err == nil {
		return nil
	}
	uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if uerr := a.takeDown(uctx, p); uerr != nil {
		return errors.Join(err, uerr)
	}
	a.forgetPod(p)
	return err
}

// forgetPod makes the pod's id free.
func (a *Agent) forgetPod(p *pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pods[p.id] == p {
		delete(a.pods, p.id)
	}
}
