package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/porthole-run/porthole/internal/phase"
)

const (
	maxLayers     = 512
	maxIndexDepth = 4
	// layersAtOnce bounds the disks of one image that are looked at together, and the layers
	// of one disk; the limits of the store bound the work.
	layersAtOnce = 8
)

// Pull brings an image onto the node and returns its id. Pulling what is there only
// asks the registry what the name means now. Concurrent pulls share downloads and
// conversions.
//
// Errors: NotFound, PermissionDenied and Unavailable are RegistryErrors; DataLoss when
// a registry sends content that has not its digest; InvalidArgument when the reference
// or the image is at fault; ResourceExhausted when the disk is full. What a failed pull
// brought is kept for Config.KeepFailed when another attempt may need it, and removed
// otherwise.
func (s *Store) Pull(ctx context.Context, ref string, auth Auth) (imageID string, err error) {
	r, err := ParseRef(ref)
	if err != nil {
		return "", fmt.Errorf("pull: %w", err)
	}
	ctx, leave, err := s.gate.enter(ctx)
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r, err)
	}
	defer leave()
	began := time.Now()
	log := s.log.With("image", r.String())
	log.InfoContext(ctx, "pull started")
	id, err := s.pull(ctx, r, auth)
	s.cfg.Metrics.pulled(err, time.Since(began))
	if err != nil {
		return "", fmt.Errorf("pull %w", err)
	}
	log.InfoContext(ctx, "pull finished", "image_id", id.String(), "duration", time.Since(began))
	return id.String(), nil
}

func (s *Store) pull(ctx context.Context, ref Ref, auth Auth) (digest.Digest, error) {
	rctx, end := phase.Begin(ctx, "resolve")
	o, target, err := s.connect(rctx, ref, auth)
	end(err)
	if err != nil {
		return "", err
	}
	names := naming{digests: []string{ref.withDigest(target.Digest)}}
	if ref.Digest == "" {
		names.tags = []string{ref.String()}
	}
	return s.install(ctx, o, target, names)
}

// naming is how an image is to be called.
type naming struct{ tags, digests []string }

// install makes an image of a descriptor: it fetches what is missing, converts the
// layers, and records the image once all of it is there.
func (s *Store) install(ctx context.Context, o origin, target ocispec.Descriptor, names naming) (id digest.Digest, err error) {
	var pinned []digest.Digest
	keep := func(ds ...digest.Digest) {
		s.mu.Lock()
		defer s.mu.Unlock()
		pinned = append(pinned, ds...)
		s.pin(ds)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil && (errdefs.IsUnavailable(err) || isContextError(err)) {
			s.spare(pinned)
		}
		s.unpin(pinned)
		if cerr := s.collect(context.WithoutCancel(ctx), false); cerr != nil {
			s.log.WarnContext(ctx, "collecting unused image files", "error", cerr)
		}
	}()
	dctx, end := phase.Begin(ctx, "manifest")
	rec, err := s.describe(dctx, o, target, keep)
	end(err)
	if err != nil {
		return "", inImage(o, err)
	}
	if err := s.ensureDisks(ctx, o, rec); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", inImage(o, diskError(s.root, err))
	}
	if err := s.measure(rec); err != nil {
		return "", err
	}
	return rec.ID, s.commit(rec, names)
}

// inImage names the image in errors that do not.
func inImage(o origin, err error) error {
	var rerr *RegistryError
	if errors.As(err, &rerr) || o.ref == (Ref{}) {
		return err
	}
	return fmt.Errorf("%s: %w", o.ref, err)
}

// describe reads manifest and config into a record.
func (s *Store) describe(ctx context.Context, o origin, target ocispec.Descriptor, keep func(...digest.Digest)) (*record, error) {
	desc, err := s.choose(ctx, o, target, keep, 0)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := s.document(ctx, o, desc, &m); err != nil {
		return nil, err
	}
	keep(m.Config.Digest)
	var c ocispec.Image
	if err := s.document(ctx, o, m.Config, &c); err != nil {
		return nil, err
	}
	if c.OS != "" && !s.platform.Match(c.Platform) {
		return nil, fmt.Errorf("image is for %s/%s, guests are %s: %w", clip(c.OS), clip(c.Architecture), s.cfg.Platform, errdefs.ErrInvalidArgument)
	}
	if n, k := len(m.Layers), len(c.RootFS.DiffIDs); n != k || n > maxLayers {
		return nil, fmt.Errorf("manifest has %d layers, config %d, %d are allowed: %w", n, k, maxLayers, errdefs.ErrInvalidArgument)
	}
	rec := &record{
		Version: recordVersion, ID: m.Config.Digest, Target: plain(target), Manifest: plain(desc), Config: plain(m.Config),
		Run: runConfig(c.Config), Annotations: m.Annotations, Created: time.Now().UTC(),
	}
	for i, blob := range m.Layers {
		diffID := c.RootFS.DiffIDs[i]
		if err := errors.Join(checkLayer(blob), diffID.Validate()); err != nil {
			return nil, fmt.Errorf("layer %d: %w: %w", i, errdefs.ErrInvalidArgument, err)
		}
		if diffID.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("layer %d: diff id by %s: %w", i, diffID.Algorithm(), errdefs.ErrNotImplemented)
		}
		keep(diffID, blob.Digest)
		rec.Layers = append(rec.Layers, layerRecord{DiffID: diffID, Blob: plain(blob)})
	}
	s.merge(rec)
	for _, d := range rec.disks() {
		keep(d.id)
	}
	return rec, nil
}

// plain is a descriptor without what we neither check nor use.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// choose walks indexes down to the manifest that fits the platform best.
func (s *Store) choose(ctx context.Context, o origin, desc ocispec.Descriptor, keep func(...digest.Digest), depth int) (ocispec.Descriptor, error) {
	if err := checkDescriptor(desc); err != nil {
		return desc, err
	}
	keep(desc.Digest)
	if images.IsManifestType(desc.MediaType) {
		return desc, nil
	}
	if !images.IsIndexType(desc.MediaType) {
		return desc, fmt.Errorf("%s is not an image, its media type is %q: %w", desc.Digest, clip(desc.MediaType), errdefs.ErrInvalidArgument)
	}
	if depth == maxIndexDepth {
		return desc, fmt.Errorf("index %s is nested too deep: %w", desc.Digest, errdefs.ErrInvalidArgument)
	}
	var index ocispec.Index
	if err := s.document(ctx, o, desc, &index); err != nil {
		return desc, err
	}
	var fit []ocispec.Descriptor
	for _, m := range index.Manifests {
		if m.Platform == nil && depth == 0 && len(index.Manifests) == 1 || m.Platform != nil && s.platform.Match(*m.Platform) {
			fit = append(fit, m)
		}
	}
	if len(fit) == 0 {
		return desc, fmt.Errorf("index %s has no image for %s: %w", desc.Digest, s.cfg.Platform, errdefs.ErrNotFound)
	}
	slices.SortStableFunc(fit, func(a, b ocispec.Descriptor) int {
		switch {
		case a.Platform == nil || b.Platform == nil:
			return 0
		case s.platform.Less(*a.Platform, *b.Platform):
			return -1
		case s.platform.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	return s.choose(ctx, o, fit[0], keep, depth+1)
}

// measure sets the image's size: what its layers take on the node, and its documents.
func (s *Store) measure(r *record) error {
	r.Size = r.Manifest.Size + r.Config.Size
	seen := map[digest.Digest]bool{}
	for _, d := range r.disks() {
		if seen[d.id] {
			continue
		}
		seen[d.id] = true
		fi, err := os.Stat(s.layerPath(d.id))
		if err != nil {
			return fmt.Errorf("measure image %s: %w", r.ID, err)
		}
		r.Size += allocated(fi)
	}
	return nil
}

// commit makes an image known. A name that another image had moves to it.
func (s *Store) commit(r *record, names naming) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.settleMerged(r); err != nil {
		return fmt.Errorf("record image %s: %w", r.ID, err)
	}
	r.Names = map[string]uint64{}
	if old := s.images[r.ID]; old != nil && !old.Removed {
		for n, seq := range old.Names {
			r.Names[n] = seq
		}
		r.Digests = append(r.Digests, old.Digests...)
		r.Created = old.Created
	}
	for _, n := range names.tags {
		s.seq++
		r.Names[n] = s.seq
	}
	for _, d := range names.digests {
		if !slices.Contains(r.Digests, d) {
			r.Digests = append(r.Digests, d)
		}
	}
	if err := s.save(r); err != nil {
		return fmt.Errorf("record image %s: %w", r.ID, err)
	}
	s.images[r.ID] = r
	return s.settleNames()
}
