package share

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/agent/stdio"
	"github.com/porthole-run/porthole/guest/agent/transport"
	"github.com/porthole-run/porthole/internal/fusemount"
)

// module is what /dev/fuse comes with.
const module = "fuse"

// Shares mounts shares below a folder.
type Shares struct {
	Dir    string       // mount points are made in it
	Relay  string       // path of the relay program
	Reaper *reap.Reaper // waits for relays
	// Load loads a module of the kernel; one that is not there is a NotFound error.
	Load func(name string) error
}

// Options say what to attach.
type Options struct {
	ID       uint64
	ReadOnly bool
	File     bool // the root is a file
	// Channel is the name of a virtio-serial port to the host. Empty: Stream is there.
	Channel string
	Stream  stdio.Stream
}

// Path is where the share of the given id is mounted.
func (s *Shares) Path(id uint64) string {
	return filepath.Join(s.Dir, strconv.FormatUint(id, 10))
}

// attached is one attached share.
type attached struct {
	mount *fusemount.Mount // immutable
	wg    sync.WaitGroup   // what moves bytes, and what tells of the end
	gone  chan struct{}    // closed when detach begins, under once
	once  sync.Once
}

// Attach mounts a share and returns when the host's server has answered the kernel. It
// owns the stream. On error nothing is left, and the stream is closed. What it returns
// unmounts the share, ends its relay and its stream, and may be called again.
func (s *Shares) Attach(ctx context.Context, o Options) (detach func(context.Context) error, err error) {
	if err := s.loadFuse(); err != nil {
		if o.Stream != nil {
			o.Stream.Close()
		}
		return nil, err
	}
	sh := &attached{gone: make(chan struct{})}
	end, closeStream, err := sh.descriptor(ctx, o)
	if err != nil {
		return nil, err
	}
	sh.mount, err = fusemount.New(ctx, fusemount.Config{
		Relay: s.Relay, Start: s.start, Stream: end, Dir: s.Path(o.ID), File: o.File, ReadOnly: o.ReadOnly,
	})
	if err != nil {
		closeStream()
		sh.wg.Wait()
		if errors.Is(err, fusemount.ErrEnded) {
			err = fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
		}
		return nil, err
	}
	sh.wg.Go(func() {
		<-sh.mount.Done()
		closeStream()
		select {
		case <-sh.gone:
		default:
			slog.Warn("share ended", "share_id", o.ID, "error", sh.mount.Err())
		}
	})
	return sh.detach, nil
}

func (sh *attached) detach(ctx context.Context) error {
	sh.once.Do(func() { close(sh.gone) })
	if err := sh.mount.Unmount(ctx); err != nil {
		return err
	}
	sh.wg.Wait()
	return nil
}

// loadFuse makes /dev/fuse be there.
func (s *Shares) loadFuse() error {
	if _, err := os.Stat("/dev/fuse"); err == nil {
		return nil
	}
	if err := s.Load(module); err != nil && !errdefs.IsNotFound(err) { // not found: it is built in
		return fmt.Errorf("load module %s: %w", module, err)
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("the kernel has no FUSE: %w: %w", err, errdefs.ErrNotImplemented)
	}
	return nil
}

// descriptor returns what the relay reads and writes, and what closes the stream on this
// side of it.
func (sh *attached) descriptor(ctx context.Context, o Options) (end *os.File, closeStream func(), err error) {
	if o.Channel != "" {
		end, err = transport.OpenChannel(ctx, o.Channel)
		return end, func() {}, err
	}
	// A socket goes to the relay as it is.
	if c, ok := o.Stream.(interface{ Take() *os.File }); ok {
		return c.Take(), func() {}, nil
	}
	end, ours, err := socketPair()
	if err != nil {
		o.Stream.Close()
		return nil, nil, err
	}
	sh.wg.Go(func() { stdio.Relay(o.Stream, ours) })
	return end, func() { o.Stream.Close(); ours.Close() }, nil
}

// socketPair returns one end for a child and one for this process.
func socketPair() (*os.File, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	end, ours := os.NewFile(uintptr(fds[0]), "share"), os.NewFile(uintptr(fds[1]), "share")
	defer ours.Close() // FileConn has a copy
	c, err := net.FileConn(ours)
	if err == nil {
		if u, ok := c.(*net.UnixConn); ok {
			return end, u, nil
		}
		err = errors.Join(fmt.Errorf("a socket pair is a %T", c), c.Close())
	}
	end.Close()
	return nil, nil, err
}

func (s *Shares) start(path string, args []string, attr *os.ProcAttr) (fusemount.Process, error) {
	p, err := s.Reaper.Start(path, args, attr)
	if err != nil {
		return nil, err
	}
	return process{p}, nil
}

// process is a relay whose end the reaper tells.
type process struct{ *reap.Process }

func (p process) Code() uint32 { return p.Exit().Code }
