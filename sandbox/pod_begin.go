package sandbox

import (
	"context"
	"fmt"

	"github.com/porthole-run/porthole/internal/phase"
)

// A PodBeginner is a Shim that can do part of SetupPod ahead.
type PodBeginner interface {
	// BeginPod does what SetupPod does for a pod but for its NICs and name files, which c need
	// not have; SetupPod of the same pod then does the rest. It may also do nothing, and
	// SetupPod does all. It is called once at most, and RemovePod and Shutdown undo it.
	BeginPod(ctx context.Context, c PodSetup) error
}

// beginPod makes of the pod what can be made in its VM before the network is there. With
// that at hand it leaves all to SetupPod.
func (m *Manager) beginPod(ctx context.Context, p *pod, h Handler, shim Shim, scratch Disk, network <-chan struct{}) error {
	b, ok := shim.(PodBeginner)
	if !ok || p.seat != nil || isClosed(network) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	ctx, measured := phase.Begin(ctx, "begin pod")
	err := b.BeginPod(ctx, p.setup(h, scratch))
	measured(err)
	if err != nil {
		return fmt.Errorf("begin pod in its VM: %w", err)
	}
	return nil
}
