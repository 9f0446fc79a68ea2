package main

import (
	"context"
	"errors"
	"net"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
)

// serveOne serves a folder over one connection, until it ends.
func serveOne(ctx context.Context, folder string, c net.Conn) error {
	backend, err := hostfs.Open(folder, hostfs.Options{})
	if err != nil {
		return errors.Join(err, c.Close())
	}
	s, err := share.NewSession(share.Config{Backend: backend, Private: true})
	if err != nil {
		return errors.Join(err, c.Close(), backend.Close())
	}
	return errors.Join(s.Serve(ctx, c), backend.Close())
}
