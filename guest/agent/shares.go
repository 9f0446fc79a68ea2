//go:build linux

package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/share"
	"github.com/porthole-run/porthole/guest/api"
)

// attachTime bounds the attaching of a share: its stream, its device, and the first
// answer of the host's server.
const attachTime = 60 * time.Second

// maxChannel is the longest name of a share's virtio-serial port.
const maxChannel = 64

// attached is a share, from before it is mounted until after it is unmounted.
type attached struct {
	// mu is held while the share is attached and detached, and guards the rest.
	mu     sync.Mutex
	detach func(context.Context) error // nil before it is attached and after it is detached
	users  int                         // containers that have it
}

// AttachShare implements the service.
func (c *control) AttachShare(ctx context.Context, r *api.AttachShareRequest) (*api.AttachShareResponse, error) {
	o, err := checkShare(r)
	if err != nil {
		return nil, err
	}
	s := &attached{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := admit(c.Agent, shareName(o.ID), c.shares, o.ID, s); err != nil {
		return nil, err
	}
	if s.detach, err = c.attachShare(ctx, o); err != nil {
		c.forgetShare(o.ID)
		return nil, fmt.Errorf("attach share %d: %w", o.ID, err)
	}
	return &api.AttachShareResponse{}, nil
}

func (a *Agent) attachShare(ctx context.Context, o share.Options) (detach func(context.Context) error, err error) {
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	if o.Channel == "" {
		streams, err := a.shared.Claim(ctx, o.ID)
		if err != nil {
			return nil, err
		}
		o.Stream = streams[0]
	}
	return a.cfg.Shares.Attach(ctx, o)
}

// DetachShare implements the service.
func (c *control) DetachShare(ctx context.Context, r *api.DetachShareRequest) (*api.DetachShareResponse, error) {
	s := toRemove(c.Agent, shareName(r.ShareId), c.shares, r.ShareId)
	if s == nil {
		return &api.DetachShareResponse{}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.detach == nil: // it was never attached, or another call was quicker
		return &api.DetachShareResponse{}, nil
	case s.users > 0:
		return nil, fmt.Errorf("detach share %d: %d containers have it: %w", r.ShareId, s.users, errdefs.ErrFailedPrecondition)
	}
	if err := s.detach(ctx); err != nil {
		return nil, fmt.Errorf("detach share %d: %w", r.ShareId, err)
	}
	s.detach = nil
	c.forgetShare(r.ShareId)
	return &api.DetachShareResponse{}, nil
}

func (a *Agent) forgetShare(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.shares, id)
}

// useShare returns where a share is mounted, and keeps it attached until dropShare.
func (a *Agent) useShare(id uint64) (string, error) {
	a.mu.Lock()
	s := a.shares[id]
	a.mu.Unlock()
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	if s == nil || s.detach == nil {
		return "", fmt.Errorf("share %d: %w", id, errdefs.ErrNotFound)
	}
	s.users++
	return a.cfg.Shares.Path(id), nil
}

// dropShare takes one useShare back.
func (a *Agent) dropShare(id uint64) {
	a.mu.Lock()
	s := a.shares[id]
	a.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
}

// checkShare checks a request to attach a share.
func checkShare(r *api.AttachShareRequest) (share.Options, error) {
	o := share.Options{ID: r.ShareId, ReadOnly: r.ReadOnly, Channel: r.Channel}
	if r.ShareId == 0 {
		return o, invalid("share_id is 0")
	}
	switch r.RootType {
	case unix.S_IFDIR:
	case unix.S_IFREG:
		o.File = true
	default:
		return o, invalid("root_type %#o is neither a folder nor a file", r.RootType)
	}
	if len(r.Channel) > maxChannel || strings.ContainsFunc(r.Channel, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return o, invalid("channel %s", strconv.Quote(r.Channel))
	}
	return o, nil
}
