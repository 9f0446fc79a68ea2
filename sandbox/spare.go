package sandbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
)

// takeSpare takes a VM that runs already for a pod that is to have one to itself, and
// returns its id; without one that is a new id, and s is nil.
func (m *Manager) takeSpare(h Handler, vm ShimConfig) (id string, s Shim) {
	if h.Sharing == nil && m.cfg.Spares != nil {
		if id, s, ok := m.cfg.Spares.Take(vm); ok {
			return id, s
		}
	}
	return newID(), nil
}

// endSpare ends the VM that was taken for a pod of which nothing was made.
func (m *Manager) endSpare(ctx context.Context, s Shim) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Timeouts.Undo)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return err
	}
	return s.Close()
}

// AskShim asks a shim's guest something that costs it little, and returns once it has answered.
func AskShim(ctx context.Context, s Shim) error {
	_, err := s.Stats(ctx, false)
	if errdefs.IsNotImplemented(err) { // an older build, which has answered all the same
		return nil
	}
	return err
}

// vmOfSpare returns the pod's spare when it answers. One that does not is ended, and s is nil:
// a VM is to be launched in its place. After an error s, if there is one, is still to be ended.
func (m *Manager) vmOfSpare(ctx context.Context, p *pod) (s Shim, err error) {
	if isClosed(p.spare.Done()) {
		_ = p.spare.Close() // it died in between; its folder is used again
		return nil, nil
	}
	actx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Spare)
	defer cancel()
	err = AskShim(actx, p.spare)
	if err == nil {
		return p.spare, nil
	}
	if ctx.Err() != nil {
		return p.spare, ctx.Err()
	}
	m.log.Warn("spare VM does not answer and is ended: its pod gets another", logkey.PodID, p.id, logkey.Error, err)
	if err := m.giveUpSpare(ctx, p); err != nil {
		return p.spare, fmt.Errorf("end spare VM that does not answer: %w", err)
	}
	return nil, nil
}

// giveUpSpare ends a VM that does not answer, and does not wait for long before it is killed.
func (m *Manager) giveUpSpare(ctx context.Context, p *pod) error {
	ctx = context.WithoutCancel(ctx)
	sctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Spare)
	defer cancel()
	err := p.spare.Shutdown(sctx)
	if err != nil {
		ectx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Spare)
		defer cancel()
		if eerr := m.cfg.Launcher.End(ectx, p.id); eerr != nil {
			return errors.Join(err, eerr)
		}
	}
	_ = p.spare.Close() // what it was a connection to is gone
	return nil
}
