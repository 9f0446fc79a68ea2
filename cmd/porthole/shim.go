package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/sandbox/shim/hostshare"
	"github.com/porthole-run/porthole/share/arbiter"
)

// runShim is the process of one VM. The daemon starts it; it is not for people.
func runShim(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "shim")
	dir := f.String("dir", "", "the shim's `folder`")
	locks := f.String("locks", "", "the `folder` of the arbiter of shares' locks")
	home := f.String("home", "", "`folders` of the control groups that the arbiter of locks runs in, which outlives the VM")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if *dir == "" || *locks == "" {
		return usagef("%s: --dir or --locks is missing", f.Name())
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	return shim.Main(ctx, *dir, shim.Parts{
		Driver: newDriver,
		Shares: func(log *slog.Logger) shim.Shares {
			return hostshare.New(hostshare.Config{
				ArbiterDir:   *locks,
				StartArbiter: arbiter.Exec(self, "arbiter", "--dir", *locks, "--home", *home),
				Log:          log,
			})
		},
	})
}

// runTemplate is the process that makes a template. The daemon starts it; it is not for
// people.
func runTemplate(ctx context.Context, io stdio, args []string) error {
	if _, err := parse(flags(io, "template"), args, 0, 0); err != nil {
		return err
	}
	return shim.TemplateMain(ctx, os.Stdin, newDriver)
}
