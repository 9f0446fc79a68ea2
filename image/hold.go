package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// RootFS is an image made ready for a container.
type RootFS struct {
	ImageID string
	Layers  []Layer // bottom first, none twice
	Config  RunConfig
}

// Layer is one read-only ext4 file system in a fixed VHD, of one layer or of several
// small ones.
type Layer struct {
	DiffID string // of several, what stands for all of theirs
	Path   string // on the host
}

type holdRecord struct {
	Holder string        `json:"holder"`
	Image  digest.Digest `json:"image"`
}

// Prepare finds an image as Status does, makes sure that its layers are there, and
// keeps them until Release of the same holder. Holders live on when the store is
// opened again. A holder has one image; asking for another one lets go of the first.
// An image that was removed can be prepared again by id, by who still holds it.
func (s *Store) Prepare(ctx context.Context, ref, holder string) (RootFS, error) {
	if holder == "" {
		return RootFS{}, fmt.Errorf("prepare image: no holder: %w", errdefs.ErrInvalidArgument)
	}
	ctx, leave, err := s.gate.enter(ctx)
	if err != nil {
		return RootFS{}, fmt.Errorf("prepare image: %w", err)
	}
	defer leave()
	r, unpin, err := s.hold(ctx, ref, holder)
	if err != nil {
		return RootFS{}, err
	}
	defer unpin()
	out := RootFS{ImageID: r.ID.String(), Config: r.Run}
	disks := r.disks()
	for i, d := range disks {
		if err := s.ensureDisk(ctx, origin{}, d); err != nil && !s.haveLayer(d.id) {
			return RootFS{}, fmt.Errorf("prepare image %s: layer %s is lost, pull the image again: %w", r.ID, d.id, err)
		}
		// The same layer again further up says all that it says here.
		if slices.ContainsFunc(disks[i+1:], func(up disk) bool { return up.id == d.id }) {
			continue
		}
		out.Layers = append(out.Layers, Layer{DiffID: d.id.String(), Path: s.layerPath(d.id)})
	}
	return out, nil
}

func (s *Store) haveLayer(d digest.Digest) bool {
	have, err := exists(s.layerPath(d))
	return err == nil && have
}

// hold records a holder.
func (s *Store) hold(ctx context.Context, ref, holder string) (*record, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(ref)
	if had := s.images[s.holds[holder]]; err != nil && had != nil && (ref == had.ID.String() || ref == had.ID.Encoded()) {
		r, err = had, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if s.holds[holder] != r.ID {
		if err := s.step("write hold"); err != nil {
			return nil, nil, err
		}
		b, err := json.Marshal(holdRecord{Holder: holder, Image: r.ID})
		if err != nil {
			return nil, nil, err
		}
		if err := atomicfile.Write(s.holdPath(holder), b, 0o600); err != nil {
			return nil, nil, diskError(s.root, err)
		}
		old := s.holds[holder]
		s.holds[holder] = r.ID
		if err := s.dropReleased(ctx, old); err != nil {
			return nil, nil, err
		}
	}
	return r, s.pinImage(r), nil
}

// Release lets go of what Prepare gave to a holder. Unknown holders are not an error.
func (s *Store) Release(ctx context.Context, holder string) error {
	ctx, leave, err := s.gate.enter(ctx)
	if err != nil {
		return fmt.Errorf("release image of %s: %w", holder, err)
	}
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.holds[holder]
	if !ok {
		return nil
	}
	if err := s.step("remove hold"); err != nil {
		return fmt.Errorf("release image of %s: %w", holder, err)
	}
	if err := ignoreMissing(os.Remove(s.holdPath(holder))); err != nil {
		return fmt.Errorf("release image of %s: %w", holder, err)
	}
	delete(s.holds, holder)
	if err := s.dropReleased(ctx, id); err != nil {
		return fmt.Errorf("release image of %s: %w", holder, err)
	}
	return nil
}

// Holders returns who holds images, so that the caller can release those it no longer
// knows.
func (s *Store) Holders() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.holds))
	for h := range s.holds {
		out = append(out, h)
	}
	slices.Sort(out)
	return out
}

// Remove takes an image away, with all of its names, whichever of them ref is. Its
// layers stay while somebody holds it. NotFound when there is no such image.
func (s *Store) Remove(ctx context.Context, ref string) error {
	ctx, leave, err := s.gate.enter(ctx)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(ref)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	if s.held(r.ID) {
		gone := *r
		gone.Names, gone.Digests, gone.Removed = nil, nil, true
		if err := s.save(&gone); err != nil {
			return fmt.Errorf("remove image %s: %w", r.ID, err)
		}
		s.images[r.ID] = &gone
		return nil
	}
	if err := s.forget(r); err != nil {
		return fmt.Errorf("remove image %s: %w", r.ID, err)
	}
	if err := s.collect(context.WithoutCancel(ctx), false); err != nil {
		return fmt.Errorf("remove image %s: %w", r.ID, err)
	}
	return nil
}

// held tells whether somebody holds an image. s.mu is held.
func (s *Store) held(id digest.Digest) bool {
	for _, h := range s.holds {
		if h == id {
			return true
		}
	}
	return false
}

// dropReleased ends an image that was removed while it was held. s.mu is held.
func (s *Store) dropReleased(ctx context.Context, id digest.Digest) error {
	if r := s.images[id]; r == nil || !r.Removed || s.held(id) {
		return nil
	}
	return s.collect(context.WithoutCancel(ctx), false)
}

// holdPath is a file name that any holder's name can have.
func (s *Store) holdPath(holder string) string {
	sum := sha256.Sum256([]byte(holder))
	return filepath.Join(s.holdsDir, hex.EncodeToString(sum[:])+recordSuffix)
}
