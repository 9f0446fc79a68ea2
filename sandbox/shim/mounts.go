package shim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
)

// held is what a container's mounts hold on the host.
type held struct {
	shares  []*hostShare
	volumes []string        // ids
	layers  []sandbox.Layer // of images
}

// acquireMounts makes ready what the container's mounts show. What it took is in c.held,
// also after an error.
func (s *Server) acquireMounts(ctx context.Context, c *container, mounts []sandbox.MountSetup) ([]guest.Mount, error) {
	if len(mounts) > maxMounts {
		return nil, fmt.Errorf("%d mounts are more than %d: %w", len(mounts), maxMounts, errdefs.ErrInvalidArgument)
	}
	var out []guest.Mount
	users := s.usersOf(c.podID)
	for _, m := range mounts {
		g, err := s.acquireMount(ctx, &c.held, m, users)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		}
		out = append(out, g)
		c.mounts = append(c.mounts, savedMount(g))
	}
	return out, nil
}

func (s *Server) acquireMount(ctx context.Context, h *held, m sandbox.MountSetup, users *sandbox.UserNamespace) (guest.Mount, error) {
	g := guest.Mount{Path: m.ContainerPath, ReadOnly: m.ReadOnly, Options: m.Options, MapIDs: m.MapIDs && m.Folder == nil}
	switch {
	case m.Image != nil:
		layers, err := s.layers.acquire(ctx, m.Image.Layers)
		if err != nil {
			return g, err
		}
		h.layers = append(h.layers, m.Image.Layers...)
		g.ReadOnly = true
		g.Image = &guest.ImageVolume{Layers: layers, SubPath: m.Image.SubPath}
	case m.Disk != nil:
		// Whoever reads from a scratch disk reads what is written in the same VM.
		v, err := s.volumes.acquire(ctx, *m.Disk, m.ReadOnly && m.Disk.ScratchBytes == 0)
		if err != nil {
			return g, err
		}
		h.volumes = append(h.volumes, v.ID)
		g.Disk = v
	case m.Folder != nil:
		src := ShareSource{FolderSource: *m.Folder, ReadOnly: m.ReadOnly}
		if m.MapIDs {
			src.Users = users
		}
		share, err := s.shares.acquire(ctx, src)
		if err != nil {
			return g, err
		}
		h.shares = append(h.shares, share)
		g.ShareID, g.ReadOnly = share.id, share.read
	default:
		return g, fmt.Errorf("it has no source: %w", errdefs.ErrInvalidArgument)
	}
	return g, nil
}

// releaseMounts gives back what acquireMounts took. What cannot be given back stays,
// serves the next container that wants it, and ends with the VM.
func (s *Server) releaseMounts(ctx context.Context, h *held) error {
	var errs []error
	for _, share := range h.shares {
		errs = append(errs, s.shares.release(ctx, share))
	}
	for _, id := range h.volumes {
		errs = append(errs, s.volumes.release(ctx, id))
	}
	errs = append(errs, s.layers.release(ctx, h.layers))
	*h = held{}
	return errors.Join(errs...)
}

// settleVolumes removes the containers that have disks, so that the guest writes what it
// has of them and unmounts them: they outlive the VM. Shares need nothing of the kind,
// as a file's last close writes what was written to it.
func (s *Server) settleVolumes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	s.mu.Lock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			if err := s.settleContainer(ctx, c); err != nil {
				s.log.WarnContext(ctx, "disks of container were not unmounted", logkey.ContainerID, c.id, logkey.Error, err)
			}
		})
	}
	wg.Wait()
}

func (s *Server) settleContainer(ctx context.Context, c *container) error {
	if err := c.lock.acquire(ctx); err != nil {
		return err
	}
	defer c.lock.release()
	if len(c.held.volumes) == 0 {
		return nil
	}
	return s.teardownContainer(ctx, c)
}

// shareBroken ends the VM: a pod of which a volume is gone does not work, and says so.
func (s *Server) shareBroken(reason error) {
	select {
	case s.broken <- reason:
	default: // an earlier one ends it already
	}
}

// guestShares is shareGuest over the VM and its agent.
type guestShares struct {
	vm    sandbox.VM
	guest *guest.Client
	room  sync.Once
}

// open gives each share a device of its own while the VM has room for more, so that none
// waits for another; else a stream beside the others.
func (g *guestShares) open(ctx context.Context) (id uint64, conn net.Conn, channel string, err error) {
	g.room.Do(func() { debug.SetMemoryLimit(shareMemoryLimit) })
	id = g.guest.NewShareID()
	if c, ok := g.vm.(sandbox.Channeler); ok {
		channel = fmt.Sprintf("porthole.share.%d", id)
		conn, err = c.OpenChannel(ctx, channel)
		if !errdefs.IsResourceExhausted(err) {
			return id, conn, channel, err
		}
	}
	conn, err = g.guest.OpenShare(ctx, id)
	return id, conn, "", err
}

func (g *guestShares) attach(ctx context.Context, id uint64, m shareMode, channel string) error {
	return g.guest.AttachShare(ctx, guest.Share{ID: id, ReadOnly: m.readOnly, File: m.file, Channel: channel})
}

func (g *guestShares) detach(ctx context.Context, id uint64) error {
	return g.guest.DetachShare(ctx, id)
}
