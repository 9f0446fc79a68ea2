package main

import (
	"context"

	"github.com/porthole-run/porthole/test/apps/appimage"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// fetchShares fills the cache with what measureShares takes from Debian.
func fetchShares(ctx context.Context, o options) error {
	if _, err := debimage.Sample(ctx, o.debs()); err != nil {
		return err
	}
	if _, err := appimage.Build(ctx, o.apps(), appimage.PostgreSQL); err != nil {
		return err
	}
	archive, err := debimage.OpenArchive(ctx, o.apps(), "bookworm")
	if err != nil {
		return err
	}
	_, err = archive.Resolve(ctx, []string{diod}, nil)
	return err
}
