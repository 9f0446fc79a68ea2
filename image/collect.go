package image

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// collectAgain is when a collection is repeated that did not come through.
const collectAgain = time.Minute

// collect removes images that the last holder has let go, and layers, blobs and old
// unfinished downloads that no image and no work under way needs. idle says that there is
// no work: then what an import left goes too. What it leaves for now, for it could not
// be removed or may yet be wanted, has a collection to come. s.mu is held.
func (s *Store) collect(ctx context.Context, idle bool) (err error) {
	defer func() { s.schedule(err != nil) }()
	var errs []error
	for _, r := range s.images {
		if r.Removed && !s.held(r.ID) {
			errs = append(errs, s.forget(r))
		}
	}
	live := map[digest.Digest]bool{} // blobs
	for d := range s.pins {
		live[d] = true
	}
	s.missed = len(s.pins) > 0
	for d, until := range s.spared {
		if time.Now().Before(until) {
			live[d] = true
		} else {
			delete(s.spared, d)
		}
	}
	// A layer that is not compressed has the digest of its disk: one may be needed without
	// the other.
	disks := maps.Clone(live)
	for _, r := range s.images {
		r.usesBlobs(func(d digest.Digest) { live[d] = true })
		for _, d := range r.disks() {
			disks[d.id] = true
		}
		if s.cfg.DiscardBlobs {
			s.discard(r, live)
		}
	}
	errs = append(errs, s.collectLayers(disks))
	if s.busy == 0 {
		errs = append(errs, s.collectBlobs(ctx, live), s.collectIngests(ctx, live, idle))
	}
	return errors.Join(errs...)
}

// discard takes the blobs of r's layers out of those that are needed, unless work under way
// reads them.
func (s *Store) discard(r *record, live map[digest.Digest]bool) {
	for _, l := range r.Layers {
		if s.pins[l.Blob.Digest] == 0 {
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
// import also what imports left. What is being begun or ended has somebody at work, whose
// end is followed by a collection.
func (s *Store) collectIngests(ctx context.Context, live map[digest.Digest]bool, idle bool) error {
	return s.eachIngest(ctx, func(st content.Status) error {
		d, isBlob := ingestDigest(st.Ref)
		if isBlob && live[d] || !isBlob && !idle {
			return nil
		}
		if err := s.content.Abort(ctx, st.Ref); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	}, func(string) error { return nil })
}

// eachIngest calls f for each unfinished download, and broken with the folder of each that
// is not whole. It goes on after errors.
func (s *Store) eachIngest(ctx context.Context, f func(content.Status) error, broken func(dir string) error) error {
	entries, err := os.ReadDir(s.ingestsDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(s.ingestsDir, e.Name())
		// The store's own list ends at the first that is not whole.
		ref, err := os.ReadFile(filepath.Join(dir, "ref"))
		var st content.Status
		if err == nil {
			st, err = s.content.Status(ctx, string(ref))
		}
		if err == nil && digest.FromBytes(ref).Encoded() == e.Name() {
			errs = append(errs, f(st))
		} else {
			errs = append(errs, broken(dir))
		}
	}
	return errors.Join(errs...)
}

// schedule sets when the next collection comes of itself. Without one a node on which
// nothing is pulled or removed would keep what it needs no more. s.mu is held.
func (s *Store) schedule(failed bool) {
	if s.sweep != nil {
		s.sweep.Stop()
	}
	var next time.Time
	if failed {
		next = time.Now().Add(collectAgain)
	}
	for _, until := range s.spared {
		if next.IsZero() || until.Before(next) {
			next = until
		}
	}
	if !next.IsZero() {
		s.sweep = time.AfterFunc(time.Until(next), s.collectUnasked)
	}
}

// collectUnasked collects what nobody else does.
func (s *Store) collectUnasked() {
	ctx, leave, err := s.gate.enter(context.Background())
	if err != nil {
		return // closed: the next to open the store collects
	}
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.collect(ctx, false); err != nil {
		s.log.Warn("collecting unused image files", "error", err)
	}
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
