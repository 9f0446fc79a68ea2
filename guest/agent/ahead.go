//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/api"
)

// waitingScratch is where a scratch disk is mounted before there is a pod.
func (a *Agent) waitingScratch() string { return filepath.Join(a.cfg.Dir, "scratch") }

// MountScratch implements the service.
func (c *control) MountScratch(ctx context.Context, r *api.MountScratchRequest) (*api.MountScratchResponse, error) {
	if r.Scratch == nil {
		return nil, invalid("no disk")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mounted != nil {
		return nil, fmt.Errorf("scratch disk %v waits for a pod: %w", *c.mounted, errdefs.ErrAlreadyExists)
	}
	addr := disk.Address{Controller: r.Scratch.Controller, LUN: r.Scratch.Lun}
	if err := c.cfg.Disks.MountScratchAhead(ctx, addr, c.waitingScratch()); err != nil {
		return nil, err
	}
	c.mounted = &addr
	return &api.MountScratchResponse{}, nil
}

// mountScratch mounts a pod's scratch disk. One that is mounted already is moved; a pod with
// another disk leaves that where it is, which costs nothing.
func (a *Agent) mountScratch(ctx context.Context, p *pod, mounted bool) error {
	if !mounted || !a.takeMounted(p.scratch) {
		return a.cfg.Disks.MountScratch(ctx, p.scratch, p.scratchDir())
	}
	if err := a.cfg.Disks.Move(a.waitingScratch(), p.scratchDir()); err != nil {
		return errors.Join(err, a.cfg.Disks.Unmount(ctx, a.waitingScratch()))
	}
	return nil
}

// takeMounted says whether the disk at an address is mounted and waits. It does no longer then.
func (a *Agent) takeMounted(addr disk.Address) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mounted == nil || *a.mounted != addr {
		return false
	}
	a.mounted = nil
	return true
}
