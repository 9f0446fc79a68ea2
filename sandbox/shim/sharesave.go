package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

// A SavableShare is a Share whose guest can be saved with the VM.
type SavableShare interface {
	Share
	// Save returns what Resume needs to go on for a copy of the guest, which stands still.
	// unchanged tells whether nothing has come or gone since. Unavailable when the guest
	// does not stand still until ctx ends, FailedPrecondition when it has what cannot be
	// kept, as locks are.
	Save(ctx context.Context) (saved []byte, unchanged func() bool, err error)
	// Resume is Serve for a guest that goes on. It calls ready once what the guest had
	// cached of other files is gone, before which nothing may run that uses the share.
	Resume(ctx context.Context, conn io.ReadWriteCloser, saved []byte, ready func()) error
}

const (
	// shareSettle bounds the wait for a share that nothing in the guest uses.
	shareSettle = 5 * time.Second
	// shareRenew bounds the wait for a guest to forget what it has cached.
	shareRenew = 30 * time.Second
	// maxShareTable bounds the table of one share.
	maxShareTable = 512 << 20
)

// errShareBusy says that a share was used between its saving and the VM's.
var errShareBusy = fmt.Errorf("a share is in use: %w", errdefs.ErrUnavailable)

// savedShares are shares that were saved, until the VM is.
type savedShares struct {
	told      []sandbox.SavedShare
	unchanged []func() bool
	conns     []net.Conn
}

// save writes the tables of all shares into dir. No process that uses them runs.
func (s *shareSet) save(ctx context.Context, dir string, u *undo.Stack) (savedShares, error) {
	ctx, cancel := context.WithTimeout(ctx, shareSettle)
	defer cancel()
	s.mu.Lock()
	all := make([]*hostShare, 0, len(s.shares))
	for _, h := range s.shares {
		all = append(all, h)
	}
	s.mu.Unlock()
	var out savedShares
	for _, h := range all {
		if h.id == 0 { // none comes or goes: the pod's lock is held, and its containers'
			continue
		}
		if err := s.saveOne(ctx, dir, h, u, &out); err != nil {
			return out, fmt.Errorf("share of %s: %w", h.path, err)
		}
	}
	slices.SortFunc(out.told, func(a, b sandbox.SavedShare) int { return int(a.ID) - int(b.ID) })
	return out, nil
}

func (s *shareSet) saveOne(ctx context.Context, dir string, h *hostShare, u *undo.Stack, out *savedShares) error {
	source, ok := h.source.(SavableShare)
	switch {
	case !ok:
		return fmt.Errorf("its server cannot save: %w", errdefs.ErrNotImplemented)
	case h.channel == "":
		return fmt.Errorf("it has no device of its own, as the VM has no more: %w", errdefs.ErrFailedPrecondition)
	}
	table, unchanged, err := source.Save(ctx)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("share-%d.json", h.id)
	path := filepath.Join(dir, name)
	u.Push("remove table of a share", func(context.Context) error { return removeFile(path) })
	if err := os.WriteFile(path, table, 0o600); err != nil {
		return err
	}
	out.told = append(out.told, sandbox.SavedShare{
		ID: h.id, Channel: h.channel, File: source.IsFile(), Read: h.read, Table: name,
	})
	out.unchanged = append(out.unchanged, unchanged)
	out.conns = append(out.conns, h.session.conn)
	return nil
}

// check wants that nothing was on its way while the VM was saved, which stands still.
func (s savedShares) check() error {
	for i, unchanged := range s.unchanged {
		n, err := unread(s.conns[i])
		if err != nil {
			return fmt.Errorf("look at stream of a share: %w", err)
		}
		if n > 0 || !unchanged() {
			return errShareBusy
		}
	}
	return nil
}

// restore serves a share of a restored VM, and returns when the guest has forgotten what it
// had cached of the files that the saved one showed.
func (s *shareSet) restore(ctx context.Context, saved sandbox.SavedPod, r sandbox.ShareRestore) error {
	i := slices.IndexFunc(saved.Shares, func(sh sandbox.SavedShare) bool { return sh.ID == r.ID })
	if i < 0 {
		return fmt.Errorf("share %d: %w", r.ID, errdefs.ErrNotFound)
	}
	if err := s.restoreOne(ctx, saved.Shares[i], r); err != nil {
		return fmt.Errorf("share %s: %w", r.Folder.Path, err)
	}
	return nil
}

func (s *shareSet) restoreOne(ctx context.Context, was sandbox.SavedShare, r sandbox.ShareRestore) error {
	if s.opener == nil {
		return errdefs.ErrNotImplemented
	}
	table, err := readBounded(r.Table, maxShareTable)
	if err != nil {
		return err
	}
	src := ShareSource{FolderSource: r.Folder, ReadOnly: r.ReadOnly}
	opened, err := s.opener(ctx, src)
	if err != nil {
		return err
	}
	source, ok := opened.(SavableShare)
	switch {
	case !ok:
		err = fmt.Errorf("its server cannot go on with a guest: %w", errdefs.ErrNotImplemented)
	case opened.IsFile() != was.File:
		err = fmt.Errorf("the checkpoint's is a file: %v: %w", was.File, errdefs.ErrFailedPrecondition)
	case opened.ReadOnly() != was.Read:
		err = fmt.Errorf("the checkpoint's is read-only: %v: %w", was.Read, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	conn, err := s.guest.reopen(ctx, was.Channel)
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	key := keyOf(opened, src)
	h := &hostShare{
		key: key, path: src.Path, lock: newLock(), source: source, id: was.ID, channel: was.Channel, read: was.Read,
		session: &shareSession{conn: conn, ended: make(chan struct{})},
	}
	s.mu.Lock()
	taken := s.shares[key] != nil
	if !taken {
		s.shares[key] = h
	}
	s.mu.Unlock()
	if taken {
		return errors.Join(fmt.Errorf("two shares of the checkpoint show it: %w", errdefs.ErrFailedPrecondition), conn.Close(), opened.Close())
	}
	ready := make(chan struct{})
	sctx := context.WithoutCancel(ctx) // the end of conn is the session's
	s.wg.Go(func() {
		s.serveWith(h, h.session, func() error {
			return source.Resume(sctx, conn, table, func() { close(ready) })
		})
	})
	ctx, cancel := context.WithTimeout(ctx, shareRenew)
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-h.session.ended:
		return h.session.err()
	case <-ctx.Done():
		return fmt.Errorf("the guest does not forget what it has cached: %w", ctx.Err())
	}
}

// use counts a container that has a restored share; nil: there is none of the id.
func (s *shareSet) use(id uint64) *hostShare {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.shares {
		if h.id == id {
			h.users++
			return h
		}
	}
	return nil
}

// reopen opens the host's end of a device that a restored VM came with.
func (g *guestShares) reopen(ctx context.Context, channel string) (net.Conn, error) {
	c, ok := g.vm.(sandbox.Channeler)
	if !ok {
		return nil, fmt.Errorf("the VM has no channels: %w", errdefs.ErrNotImplemented)
	}
	return c.OpenChannel(ctx, channel)
}
