package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox/cgroup"
	"github.com/porthole-run/porthole/share/arbiter"
)

// runArbiter is the process that keeps the locks of folders that pods share. Shims start
// it; it is not for people.
func runArbiter(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "arbiter")
	dir := f.String("dir", "", "the arbiter's `folder`")
	home := f.String("home", "", "`folders` of the control groups to run in; empty: those of who starts it")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if *dir == "" {
		return usagef("%s: --dir is missing", f.Name())
	}
	log := slog.New(slog.NewJSONHandler(io.err, logkey.HandlerOptions(slog.LevelInfo)))
	// A shim starts it, and is in the control group of a pod, which ends before this does.
	if err := cgroup.Join(filepath.SplitList(*home)); err != nil {
		log.Warn("arbiter stays in a pod's control group", logkey.Error, err)
	}
	return arbiter.Main(ctx, *dir, log)
}
