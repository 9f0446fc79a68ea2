package guest

import (
	"context"
	"fmt"
	"net"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
)

// Share says how the guest mounts a share of the host.
type Share struct {
	ID       uint64 // of NewShareID
	ReadOnly bool
	File     bool   // its root is a regular file
	Channel  string // the virtio-serial port that its messages come by; empty: a stream of OpenShare
}

// NewShareID returns an id that no share of the VM has had.
func (c *Client) NewShareID() uint64 { return c.nextID.Add(1) }

// OpenShare opens the stream that a share's messages go by. AttachShare has to follow.
func (c *Client) OpenShare(ctx context.Context, id uint64) (net.Conn, error) {
	conn, err := c.dialer.Dial(ctx, api.PortShare)
	if err != nil {
		return nil, fmt.Errorf("open stream to guest: %w", err)
	}
	stop := interrupt(ctx, conn)
	err = api.WriteShareHeader(conn, id)
	if stop(); err == nil && ctx.Err() == nil {
		return conn, nil
	}
	conn.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("open stream to guest: %w: %w", err, errdefs.ErrUnavailable)
}

// AttachShare mounts a share in the guest, for containers to be given. It returns when
// the kernel of the guest has had its first answer: the share has to be served already.
func (c *Client) AttachShare(ctx context.Context, s Share) error {
	r := &api.AttachShareRequest{ShareId: s.ID, ReadOnly: s.ReadOnly, RootType: typeFolder, Channel: s.Channel}
	if s.File {
		r.RootType = typeRegular
	}
	_, err := call(ctx, c.api.AttachShare, r)
	return inGuest(err)
}

// DetachShare unmounts a share. FailedPrecondition while a container has it; gone is not
// an error.
func (c *Client) DetachShare(ctx context.Context, id uint64) error {
	_, err := call(ctx, c.api.DetachShare, &api.DetachShareRequest{ShareId: id})
	return inGuest(err)
}

// Linux's file types, as in a mode.
const (
	typeFolder  = 0o040000
	typeRegular = 0o100000
)
