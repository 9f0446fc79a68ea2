package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Uninstall ends all pods and removes the service, programs, and unless keepData is set, configuration, images
// and records. It goes on past what fails, and may be called again: the errors are joined. A
// program that runs from the installation cannot remove itself: from says where the caller's is.
func (s *Setup) Uninstall(ctx context.Context, from string, keepData bool) error {
	if inside(s.c.InstallDir, from) {
		return fmt.Errorf("%s is part of what is to be removed: run the release's own, or a copy elsewhere", from)
	}
	conf := filepath.Join(s.c.DataDir, configFile)
	var errs []error
	// The daemon first: it would make what is removed anew, and the kubelet's next pods with it.
	if err := s.c.Service.Uninstall(ctx); err != nil {
		return fmt.Errorf("remove the service: %w", err) // with the daemon at work the rest makes no sense
	}
	if _, err := os.Stat(conf); err == nil {
		if err := s.c.Host.EndPods(ctx, conf); err != nil {
			errs = append(errs, fmt.Errorf("end the pods: %w", err))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("look for the configuration: %w", err))
	}
	if len(errs) > 0 && !keepData {
		// Records are needed to end what is left: the next try finds it by them.
		keepData = true
		errs = append(errs, fmt.Errorf("%s is kept until they have ended: try again", s.c.DataDir))
	}
	if err := s.removeAll(ctx, s.c.InstallDir); err != nil {
		errs = append(errs, fmt.Errorf("remove programs: %w", err))
	}
	if !keepData {
		if err := s.removePlaced(); err != nil {
			errs = append(errs, err)
		}
		if err := s.removeAll(ctx, s.c.DataDir); err != nil {
			errs = append(errs, fmt.Errorf("remove data: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeAll removes a folder, waiting for the shims that have files of it open: they end with
// their VMs, but not at once.
func (s *Setup) removeAll(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.Settle)
	defer cancel()
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		err := os.RemoveAll(dir)
		if err == nil {
			return nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return err
		}
	}
}

// inside tells whether a path is in a folder, as Windows compares them.
func inside(dir, path string) bool {
	if path == "" {
		return false
	}
	rel, err := filepath.Rel(strings.ToLower(filepath.Clean(dir)), strings.ToLower(filepath.Clean(path)))
	return err == nil && filepath.IsLocal(rel)
}
