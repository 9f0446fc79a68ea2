package sharetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/porthole-run/porthole/internal/fusemount"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// mountTime bounds mounting and unmounting.
const mountTime = 30 * time.Second

// MountDir serves a share and mounts it on dir, which it makes, until unmount is called:
// that waits for the server's end and removes dir. The share goes on when ctx ends.
func MountDir(ctx context.Context, cfg share.Config, dir string) (unmount func() error, err error) {
	attr, err := cfg.Backend.Root().Attr()
	if err != nil {
		return nil, fmt.Errorf("mount share: %w", err)
	}
	relay, err := fusemount.BuildRelay(ctx, os.TempDir())
	if err != nil {
		return nil, err
	}
	session, err := share.NewSession(cfg)
	if err != nil {
		return nil, err
	}
	end, conn, err := fusemount.Pair()
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	served := make(chan error, 1)
	go func() { // ends with the stream
		err := session.Serve(ctx, conn)
		conn.Close()
		served <- err
	}()
	mountCtx, cancel := context.WithTimeout(ctx, mountTime)
	defer cancel()
	m, err := fusemount.New(mountCtx, fusemount.Config{
		Relay: relay, Start: fusemount.Start, Stream: end, Dir: dir,
		File: attr.Mode&posix.S_IFMT == posix.S_IFREG, ReadOnly: cfg.ReadOnly,
	})
	if err != nil {
		conn.Close()
		return nil, errors.Join(err, <-served)
	}
	return func() error {
		ctx, cancel := context.WithTimeout(ctx, mountTime)
		defer cancel()
		err := m.Unmount(ctx)
		conn.Close()
		return errors.Join(err, <-served)
	}, nil
}
