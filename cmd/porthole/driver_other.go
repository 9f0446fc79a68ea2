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

// newScratch makes disks whose writable layers can be counted where the guest's kernel has
// quotas.
func newScratch(c config.Config, quotas bool, log *slog.Logger) (sandbox.Scratch, error) {
	return scratch.New(scratch.Config{Dir: filepath.Join(c.Root, "scratch"), CountProjects: quotas, Logger: log})
}
