package sandboxtest

import (
	"context"

	"github.com/porthole-run/porthole/sandbox"
)

// BeginPod implements sandbox.PodBeginner. It does nothing but fail when it is to.
func (s *Shim) BeginPod(ctx context.Context, _ sandbox.PodSetup) error {
	if err := s.reach(ctx, "BeginPod"); err != nil {
		return err
	}
	s.n.mu.Unlock()
	return nil
}

var _ sandbox.PodBeginner = (*Shim)(nil)
