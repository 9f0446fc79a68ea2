package hostshare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/arbiter"
	"github.com/porthole-run/porthole/share/posix"
)

// Config is what a Host is made from.
type Config struct {
	// ArbiterDir is the folder by which the shims of a host find their arbiter, and
	// StartArbiter starts one.
	ArbiterDir   string
	StartArbiter func(ctx context.Context) error
	Log          *slog.Logger
}

// Host opens shares.
type Host struct {
	arbiter *arbiter.Client // immutable, as log
	log     *slog.Logger
}

// New makes a Host. Close must be called.
func New(c Config) *Host {
	return &Host{
		arbiter: arbiter.New(arbiter.Config{Dir: c.ArbiterDir, Start: c.StartArbiter, Log: c.Log}),
		log:     c.Log,
	}
}

// Close ends what shares have at the arbiter.
func (h *Host) Close() error { return h.arbiter.Close() }

// Open implements shim.ShareOpener.
func (h *Host) Open(_ context.Context, s shim.ShareSource) (shim.Share, error) {
	info, err := os.Stat(s.Path)
	if err != nil {
		return nil, hostError(err)
	}
	out := &opened{host: h, source: s, folder: s.Path, made: make(chan struct{})}
	if !info.IsDir() {
		// By its folder, so that it is followed when another file takes its place.
		out.folder, out.name = filepath.Split(s.Path)
		out.folder = filepath.Clean(out.folder)
	}
	out.read = s.ReadOnly && (s.Recursive || s.HostToContainer || out.name != "" || !mountsBelow(s.Path))
	s.Recursive = out.read
	if out.backend, err = openFolder(out.folder, s); err != nil {
		return nil, hostError(err)
	}
	out.root = out.backend.Root().ID()
	if out.name != "" {
		out.backend = share.OneFile(out.backend, out.name)
	}
	return out, nil
}

// hostError gives an error of the host its kind.
func hostError(err error) error {
	var kind error = errdefs.ErrInternal
	switch e := posix.FromError(err); {
	case errors.Is(err, errors.ErrUnsupported):
		kind = errdefs.ErrNotImplemented
	case errors.Is(err, fs.ErrPermission) || e == posix.EACCES || e == posix.EPERM:
		kind = errdefs.ErrPermissionDenied
	case errors.Is(err, fs.ErrNotExist) || e == posix.ENOENT || e == posix.ENOTDIR || e == posix.EINVAL:
		kind = errdefs.ErrFailedPrecondition
	case e == posix.EMFILE || e == posix.ENFILE || e == posix.ENOMEM || e == posix.ENOSPC:
		kind = errdefs.ErrResourceExhausted
	}
	return fmt.Errorf("%w: %w", err, kind)
}

// opened is a folder or file of the host. It implements shim.Share.
type opened struct {
	host    *Host
	source  shim.ShareSource
	folder  string
	name    string // of a file in folder; empty: the folder itself
	root    share.FileID
	backend share.Backend
	read    bool // all of it is read-only

	resume  []byte                        // the table to go on with; nil: the guest is new; set before Serve
	session atomic.Pointer[share.Session] // once it is served
	made    chan struct{}                 // closed when session is set
}

var _ shim.Share = (*opened)(nil)

// ID implements shim.Share. The path is part of it since what is mounted below may differ.
func (o *opened) ID() string { return fmt.Sprintf("%x %q %q", o.root, o.folder, o.name) }

// IsFile implements shim.Share.
func (o *opened) IsFile() bool { return o.name != "" }

// ReadOnly implements shim.Share. Mounts that the host makes later are read-only always,
// where they are seen: who is shown them has no say in which there are.
func (o *opened) ReadOnly() bool { return o.read }

// Close implements shim.Share.
func (o *opened) Close() error { return o.backend.Close() }

// Serve implements shim.Share. Locks are the guest's own when the share is private, else
// the arbiter's.
func (o *opened) Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	c := share.Config{Backend: o.backend, ReadOnly: o.read, Private: o.source.Private, Log: o.host.log}
	if u := o.source.Users; u != nil {
		c.Owners = &share.Owners{
			UIDs: share.IDRange{First: u.UIDs.HostID, Length: u.UIDs.Length}, GIDs: share.IDRange{First: u.GIDs.HostID, Length: u.GIDs.Length},
		}
	}
	if o.source.Private {
		s, err := o.newSession(ctx, c)
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		return s.Serve(ctx, conn)
	}
	return o.serveShared(ctx, c, conn)
}

func (o *opened) serveShared(ctx context.Context, c share.Config, conn io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chain, err := arbiter.Chain(o.folder, func(path string) (share.FileID, error) {
		if path == o.folder {
			return o.root, nil
		}
		return identify(path)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("name the folders above: %w", err), conn.Close())
	}
	var session *share.Session
	made := make(chan struct{}) // closed when session is set
	member, err := o.host.arbiter.Join(ctx, arbiter.JoinConfig{
		Chain: chain,
		Changed: func(ctx context.Context, changes []share.Change) error {
			select {
			case <-made:
				return session.Invalidate(ctx, changes)
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Lost: cancel,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("join the arbiter of locks: %w", err), conn.Close())
	}
	defer member.Close()
	c.Locker, c.Peers = member, member
	if session, err = o.newSession(ctx, c); err != nil {
		return errors.Join(err, conn.Close())
	}
	close(made)
	err = session.Serve(ctx, conn)
	if cause := context.Cause(ctx); cause != nil {
		err = errors.Join(cause, err)
	}
	return err
}

// identify names a folder above a share.
func identify(path string) (share.FileID, error) {
	b, err := openFolder(path, shim.ShareSource{ReadOnly: true, FolderSource: liveFolder})
	if err != nil {
		return share.FileID{}, err
	}
	id := b.Root().ID()
	return id, b.Close()
}
