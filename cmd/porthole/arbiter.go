package main

import (
	"context"
	"log/slog"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/share/arbiter"
)

// runArbiter is the process that keeps the locks of folders that pods share. Shims start
// it; it is not for people.
func runArbiter(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "arbiter")
	dir := f.String("dir", "", "the arbiter's `folder`")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if *dir == "" {
		return usagef("%s: --dir is missing", f.Name())
	}
	return arbiter.Main(ctx, *dir, slog.New(slog.NewJSONHandler(io.err, logkey.HandlerOptions(slog.LevelInfo))))
}
