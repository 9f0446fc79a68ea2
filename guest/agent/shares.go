//go:build linux

package agent

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
)

// AttachShare implements the service.
func (c *control) AttachShare(context.Context, *api.AttachShareRequest) (*api.AttachShareResponse, error) {
	return nil, fmt.Errorf("attach share: %w", errdefs.ErrNotImplemented)
}

// DetachShare implements the service.
func (c *control) DetachShare(context.Context, *api.DetachShareRequest) (*api.DetachShareResponse, error) {
	return nil, fmt.Errorf("detach share: %w", errdefs.ErrNotImplemented)
}
