package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// collect removes layers, blobs and old unfinished downloads that no image and no
// work under way needs. idle says that there is no work: then what an import left goes
// too. s.mu is held.
func (s *Store) collect(ctx context.Context, idle bool) error {
	live := map[digest.Digest]bool{}
	for d := range s.pins {
		live[d] = true
	}
	for d, until := range s.spared {
		if time.Now().After(until) {
			delete(s.spared, d)
		} else {
			live[d] = true
		}
	}
	for _, r := range s.images {
		r.uses(func(d digest.Digest) { live[d] = true })
		if s.cfg.DiscardBlobs {
			s.discard(r, live)
		}
	}
	errs := []error{s.collectLayers(live)}
	if s.busy == 0 {
		errs = append(errs, s.collectBlobs(ctx, live), s.collectIngests(ctx, live, idle))
	}
	return errors.Join(errs...)
}

// discard takes the compressed layers of r out of what is needed, unless work under
// way reads them or a layer has the same digest, as layers that are not compressed do.
func (s *Store) discard(r *record, live map[digest.Digest]bool) {
	for _, l := range r.Layers {
		if s.pins[l.Blob.Digest] == 0 && l.Blob.Digest != l.DiffID {
			delete(live, l.Blob.Digest)
		}
	}
}

func (s *Store) collectLayers(live map[digest.Digest]bool) error {
	entries, err := os.ReadDir(s.layersDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		id, ok, current := layerID(e.Name())
		if !ok || current && live[id] {
			continue
		}
		if err := s.step("remove layer"); err != nil {
			return err
		}
		errs = append(errs, ignoreMissing(removeReadOnly(filepath.Join(s.layersDir, e.Name()))))
	}
	return errors.Join(errs...)
}

func (s *Store) collectBlobs(ctx context.Context, live map[digest.Digest]bool) error {
	var dead []digest.Digest
	err := s.content.Walk(ctx, func(i content.Info) error {
		if !live[i.Digest] {
			dead = append(dead, i.Digest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range dead {
		if err := s.step("remove blob"); err != nil {
			return err
		}
		if err := s.content.Delete(ctx, d); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// collectIngests drops downloads that nobody may go on with, and when there is no
// import also what imports left.
func (s *Store) collectIngests(ctx context.Context, live map[digest.Digest]bool, idle bool) error {
	all, err := s.content.ListStatuses(ctx)
	if err != nil {
		if errdefs.IsNotFound(err) {
			return nil // a download was completed meanwhile; there will be a next time
		}
		return err
	}
	var errs []error
	for _, st := range all {
		d, isBlob := ingestDigest(st.Ref)
		if isBlob && live[d] || !isBlob && !idle {
			continue
		}
		if err := s.content.Abort(ctx, st.Ref); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// spareIngests keeps recent downloads that an earlier process did not finish.
func (s *Store) spareIngests(ctx context.Context) error {
	all, err := s.content.ListStatuses(ctx)
	if err != nil {
		return err
	}
	for _, st := range all {
		if d, ok := ingestDigest(st.Ref); ok && time.Since(st.UpdatedAt) < ingestLife {
			s.spared[d] = st.UpdatedAt.Add(ingestLife)
		}
	}
	return nil
}

func ingestDigest(ref string) (digest.Digest, bool) {
	if len(ref) < len(ingestPrefix) || ref[:len(ingestPrefix)] != ingestPrefix {
		return "", false
	}
	d := digest.Digest(ref[len(ingestPrefix):])
	return d, d.Validate() == nil
}

// removeReadOnly removes a file that Windows would not remove while it is read-only.
func removeReadOnly(path string) error {
	if err := os.Remove(path); err == nil || errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Chmod(path, 0o644); err != nil {
		return err
	}
	return os.Remove(path)
}
