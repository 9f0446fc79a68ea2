//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/api"
)

// layer is a mounted layer, shared by the containers that use it.
type layer struct {
	id      string
	dir     string
	addr    disk.Address
	mounted bool
	refs    int
}

// layerRef names a layer and the disk it is on.
type layerRef struct {
	id   string
	addr disk.Address
}

// topmost drops a layer that comes again further up: images repeat layers, overlayfs
// refuses to, and what the upper one shows or hides stands for both.
func topmost(refs []layerRef) []layerRef {
	last := map[string]int{}
	for i, r := range refs {
		last[r.id] = i
	}
	var out []layerRef
	for i, r := range refs {
		if last[r.id] == i {
			out = append(out, r)
		}
	}
	return out
}

// mountsAtOnce is how many disks are waited for and mounted side by side: more than that does
// not hide more of what each waits for the host, and each takes a thread.
const mountsAtOnce = 4

// useLayers mounts layers that are not, and returns where their images' roots are. On error it has
// given back those it took.
func (a *Agent) useLayers(ctx context.Context, refs []layerRef) ([]string, error) {
	a.layersMu.Lock()
	defer a.layersMu.Unlock()
	var dirs []string
	var missing []*layer
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(mountsAtOnce)
	for _, r := range refs {
		l := a.layers[r.id]
		if l == nil {
			l = &layer{id: r.id, dir: a.shortDir(a.cfg.Dir + "/l"), addr: r.addr}
			a.layers[r.id] = l
			missing = append(missing, l)
			g.Go(func() error {
				if err := a.cfg.Disks.MountLayer(gctx, r.addr, l.dir); err != nil {
					return fmt.Errorf("mount layer %s: %w", r.id, err)
				}
				l.mounted = true
				return nil
			})
		}
		l.refs++
		dirs = append(dirs, filepath.Join(l.dir, api.LayerRoot))
	}
	if err := g.Wait(); err != nil {
		for _, l := range missing {
			if !l.mounted { // there is nothing to give back
				delete(a.layers, l.id)
			}
		}
		_, undoErr := a.dropLayersLocked(context.WithoutCancel(ctx), refs)
		return nil, errors.Join(err, undoErr)
	}
	return dirs, nil
}

// dropLayers gives layers back and returns the ids of those that are unmounted now.
func (a *Agent) dropLayers(ctx context.Context, refs []layerRef) (unused []string, err error) {
	a.layersMu.Lock()
	defer a.layersMu.Unlock()
	return a.dropLayersLocked(ctx, refs)
}

// dropLayersLocked needs layersMu. It goes on after an error: a layer that could not be
// unmounted is forgotten all the same, and not told as unused.
func (a *Agent) dropLayersLocked(ctx context.Context, refs []layerRef) (unused []string, err error) {
	var errs []error
	for _, r := range refs {
		l := a.layers[r.id]
		if l == nil {
			continue
		}
		if l.refs--; l.refs > 0 {
			continue
		}
		delete(a.layers, r.id)
		if err := errors.Join(a.cfg.Disks.Unmount(ctx, l.dir), a.cfg.Disks.Eject(l.addr)); err != nil {
			errs = append(errs, fmt.Errorf("unmount layer %s: %w", r.id, err))
			continue
		}
		unused = append(unused, r.id)
	}
	return unused, errors.Join(errs...)
}
