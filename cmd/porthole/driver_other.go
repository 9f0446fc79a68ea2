//go:build !windows

package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/scratch"
)

func (s driverSettings) driver(log *slog.Logger) (sandbox.Driver, error) { return s.qemu(log) }

// endLeftovers has nothing to do: QEMU dies with its shim.
func endLeftovers(context.Context, []string, *slog.Logger) error { return nil }

func newScratch(c config.Config, log *slog.Logger) (sandbox.Scratch, error) {
	return scratch.New(scratch.Config{Dir: filepath.Join(c.Root, "scratch"), Logger: log})
}
