package image

import (
	"context"
	"os"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
)

// pin keeps blobs and layers from collection. s.mu is held.
func (s *Store) pin(ds []digest.Digest) {
	for _, d := range ds {
		s.pins[d]++
	}
}

// unpin undoes pin. s.mu is held.
func (s *Store) unpin(ds []digest.Digest) {
	for _, d := range ds {
		if s.pins[d]--; s.pins[d] == 0 {
			delete(s.pins, d)
		}
	}
}

// pinImage keeps an image's files from collection until unpin is called, even when the
// image is removed meanwhile: then unpin removes them. s.mu is held, not so for unpin.
func (s *Store) pinImage(r *record) (unpin func()) {
	var ds []digest.Digest
	r.uses(func(d digest.Digest) { ds = append(ds, d) })
	s.pin(ds)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unpin(ds)
		if !s.missed || len(s.pins) > 0 {
			return
		}
		if err := s.collect(context.Background(), false); err != nil {
			s.log.Warn("collecting unused image files", "error", err)
		}
	}
}

// spare keeps blobs and layers for a while, for a pull that may follow one that failed.
// s.mu is held.
func (s *Store) spare(ds []digest.Digest) {
	until := time.Now().Add(s.cfg.KeepFailed)
	for _, d := range ds {
		s.spared[d] = until
	}
}

// spareIngests keeps recent downloads that an earlier process did not finish. It removes
// those that are not whole: that process was killed as it began or ended one.
func (s *Store) spareIngests(ctx context.Context) error {
	return s.eachIngest(ctx, func(st content.Status) error {
		if d, ok := ingestDigest(st.Ref); ok && time.Since(st.UpdatedAt) < s.cfg.KeepFailed {
			s.spared[d] = st.UpdatedAt.Add(s.cfg.KeepFailed)
		}
		return nil
	}, os.RemoveAll)
}
