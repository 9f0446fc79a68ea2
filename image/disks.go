package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/internal/phase"
)

// Bounds of what is merged, in bytes as sent. Each disk costs a start some milliseconds, and
// images with many layers have many that are next to nothing. A layer that is part of
// a merged disk is converted, and kept, once for each image with other neighbours for
// it, so that what such a disk has is bounded too.
const (
	mergeLayer = 1 << 20 // of one layer
	mergeDisk  = 8 << 20 // of all in one disk
)

// span is a run of an image's layers that are one disk.
type span struct {
	First int `json:"first"` // index of the lowest
	Count int `json:"count"`
}

// disk is what one disk is made of: one layer, or several, bottom first.
type disk struct {
	id     digest.Digest // the layer's diff ID, or the id of what is merged
	layers []layerRecord
	lowest bool // nothing of the image lies below
}

func (d *disk) merged() bool { return len(d.layers) > 1 }

// spans says which layers are merged, by their sizes alone: those that are small and follow
// one another. So images that begin alike share disks, but for those where they part.
func spans(layers []layerRecord) []span {
	var out []span
	run, size := span{}, int64(0)
	end := func() {
		if run.Count > 1 {
			out = append(out, run)
		}
	}
	for i, l := range layers {
		small := l.Blob.Size <= mergeLayer
		if !small || size+l.Blob.Size > mergeDisk {
			end()
			run, size = span{First: i}, 0
		}
		if small {
			if run.Count == 0 {
				run.First = i
			}
			run.Count++
			size += l.Blob.Size
		}
	}
	end()
	return out
}

// validSpans checks spans that were read from disk.
func validSpans(merged []span, layers int) error {
	next := 0
	for _, m := range merged {
		if m.First < next || m.Count < 2 || m.Count > layers-m.First {
			return fmt.Errorf("merged layers %d and %d after it of %d", m.First, m.Count-1, layers)
		}
		next = m.First + m.Count
	}
	return nil
}

// disks are what the image's layers are on, bottom first.
func (r *record) disks() []disk {
	var out []disk
	merged := r.Merged
	for i := 0; i < len(r.Layers); {
		n := 1
		if len(merged) > 0 && merged[0].First == i {
			n, merged = merged[0].Count, merged[1:]
		}
		d := disk{id: r.Layers[i].DiffID, layers: r.Layers[i : i+n], lowest: i == 0}
		if d.merged() {
			ids := make([]digest.Digest, n)
			for k, l := range d.layers {
				ids[k] = l.DiffID
			}
			d.id = layer.MergedID(ids, d.lowest)
		}
		out = append(out, d)
		i += n
	}
	return out
}

// split takes merged disks apart. apart says of each disk whether that is to be done.
func (r *record) split(apart []bool) {
	at := 0
	for i, d := range r.disks() {
		if d.merged() && apart[i] {
			r.Merged = slices.DeleteFunc(slices.Clone(r.Merged), func(m span) bool { return m.First == at })
		}
		at += len(d.layers)
	}
}

// merge says which layers of an image that is being installed share disks. An image that is
// there keeps what it has: containers may use its disks.
func (s *Store) merge(r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.images[r.ID]; old != nil && len(old.Layers) == len(r.Layers) {
		r.Merged = old.Merged
	} else if !s.cfg.apart {
		r.Merged = spans(r.Layers)
	}
}

// errApart is that layers cannot be merged.
var errApart = errors.New("layers cannot be merged")

// ensureDisks makes what is missing of the disks of an image that is being installed. Layers
// that cannot be merged become disks of their own, and r says so.
func (s *Store) ensureDisks(ctx context.Context, o origin, r *record) error {
	disks := r.disks()
	apart := make([]bool, len(disks))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(layersAtOnce)
	for i, d := range disks {
		g.Go(func() error {
			err := s.ensureDisk(gctx, o, d)
			if !errors.Is(err, errApart) {
				return err
			}
			// Layer by layer it comes out which is at fault, if one is.
			s.log.InfoContext(ctx, "layers stay disks of their own", "image", r.ID.String(), "layers", len(d.layers), "error", err)
			apart[i] = true
			for _, l := range d.layers {
				if err := s.ensureLayer(gctx, o, l.Blob, l.DiffID); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	r.split(apart)
	return err
}

// ensureDisk fetches the layers of a disk and makes it, where that is not done yet. With an
// errApart the layers are there, and cannot be merged.
func (s *Store) ensureDisk(ctx context.Context, o origin, d disk) (err error) {
	if !d.merged() {
		return s.ensureLayer(ctx, o, d.layers[0].Blob, d.layers[0].DiffID)
	}
	path := s.layerPath(d.id)
	have, err := exists(path)
	if err != nil || have && s.cfg.DiscardBlobs {
		return err
	}
	if err := s.fetchLayers(ctx, o, d.layers, have); err != nil || have {
		return err
	}
	ctx, end := phase.Begin(ctx, "merge layers")
	defer func() { end(err) }()
	return s.flights.do(ctx, "layer:"+d.id.String(), func(ctx context.Context) error {
		if have, err := exists(path); err != nil || have {
			return err
		}
		if err := s.mergeLayers(ctx, d, path); err != nil {
			err = fmt.Errorf("merge %d layers from %s: %w", len(d.layers), d.layers[0].Blob.Digest, err)
			if errdefs.IsInvalidArgument(err) || errdefs.IsFailedPrecondition(err) {
				err = fmt.Errorf("%w: %w", errApart, err)
			}
			return err
		}
		return nil
	})
}

// fetchLayers fetches layers side by side. had says that this takes no time: then it is no phase.
func (s *Store) fetchLayers(ctx context.Context, o origin, layers []layerRecord, had bool) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(layersAtOnce)
	for _, l := range layers {
		g.Go(func() error {
			if had {
				return s.fetch(gctx, o, l.Blob)
			}
			return phase.Do(gctx, "fetch layer", func(ctx context.Context) error { return s.fetch(ctx, o, l.Blob) })
		})
	}
	return g.Wait()
}

// whole tells whether all disks of an image are there.
func (s *Store) whole(r *record) (bool, error) {
	for _, d := range r.disks() {
		if have, err := exists(s.layerPath(d.id)); err != nil || !have {
			return false, err
		}
	}
	return true, nil
}

// settleMerged keeps layers of an image that is there on the disks that they are on: containers
// may have them. s.mu is held.
func (s *Store) settleMerged(r *record) error {
	old := s.images[r.ID]
	if old == nil || slices.Equal(old.Merged, r.Merged) || len(old.Layers) != len(r.Layers) {
		return nil
	}
	have, err := s.whole(old)
	if have {
		r.Merged, r.Size = old.Merged, old.Size
	}
	return err
}
