package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

const (
	recordVersion = 1
	recordSuffix  = ".json"
	damagedSuffix = ".damaged"
)

// record is what the store keeps of an image.
type record struct {
	Version  int                `json:"version"`
	ID       digest.Digest      `json:"id"`
	Target   ocispec.Descriptor `json:"target"` // what the name led to: an index or a manifest
	Manifest ocispec.Descriptor `json:"manifest"`
	Config   ocispec.Descriptor `json:"config"`
	Layers   []layerRecord      `json:"layers"` // bottom first
	// Merged says which layers share a disk, in order. Records of builds that merged none
	// have none, and stay so.
	Merged []span `json:"merged,omitempty"`
	// Names are tagged references; the number says which of two images that claim a
	// name after a crash had it last.
	Names       map[string]uint64 `json:"names,omitempty"`
	Digests     []string          `json:"digests,omitempty"` // repository@digest
	Run         RunConfig         `json:"run"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Size        int64             `json:"size"`
	Created     time.Time         `json:"created"`
	// Removed images are unknown to all but those that hold them.
	Removed bool `json:"removed,omitempty"`
}

type layerRecord struct {
	DiffID digest.Digest      `json:"diffId"`
	Blob   ocispec.Descriptor `json:"blob"`
}

// validate checks a record that was read from disk.
func (r *record) validate() error {
	if r.Version != recordVersion {
		return fmt.Errorf("record version %d", r.Version)
	}
	for _, d := range []digest.Digest{r.ID, r.Target.Digest, r.Manifest.Digest, r.Config.Digest} {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	for _, l := range r.Layers {
		if err := errors.Join(l.DiffID.Validate(), l.Blob.Digest.Validate()); err != nil {
			return err
		}
	}
	return validSpans(r.Merged, len(r.Layers))
}

// names are the image's tags in order.
func (r *record) names() []string { return slices.Sorted(maps.Keys(r.Names)) }

// called tells whether ref is one of the image's names or digests.
func (r *record) called(ref Ref) bool {
	if ref.Digest != "" {
		return slices.Contains(r.Digests, ref.String())
	}
	_, ok := r.Names[ref.String()]
	return ok
}

// uses calls f for each blob and disk that the image needs.
func (r *record) uses(f func(digest.Digest)) {
	r.usesBlobs(f)
	for _, d := range r.disks() {
		f(d.id)
	}
}

// usesBlobs calls f for each blob that the image needs.
func (r *record) usesBlobs(f func(digest.Digest)) {
	f(r.Target.Digest)
	f(r.Manifest.Digest)
	f(r.Config.Digest)
	for _, l := range r.Layers {
		f(l.Blob.Digest)
	}
}

func (s *Store) recordPath(id digest.Digest) string {
	return filepath.Join(s.imagesDir, id.Algorithm().String()+"-"+id.Encoded()+recordSuffix)
}

// save writes a record. s.mu is held.
func (s *Store) save(r *record) error {
	if err := s.step("write record"); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode image %s: %w", r.ID, err)
	}
	return diskError(s.root, atomicfile.Write(s.recordPath(r.ID), b, 0o600))
}

// forget removes a record. s.mu is held.
func (s *Store) forget(r *record) error {
	if err := s.step("remove record"); err != nil {
		return err
	}
	if err := ignoreMissing(os.Remove(s.recordPath(r.ID))); err != nil {
		return err
	}
	delete(s.images, r.ID)
	s.accounts.drop(r.ID)
	// Who takes an image away wants its room, whatever pulls of it failed before.
	r.uses(func(d digest.Digest) { delete(s.spared, d) })
	return nil
}

// loadRecords reads all records. One that cannot be read is set aside: the others do
// not suffer, and the image can be pulled again.
func (s *Store) loadRecords() error {
	entries, err := os.ReadDir(s.imagesDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.imagesDir, e.Name())
		if !strings.HasSuffix(e.Name(), recordSuffix) {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		r := new(record)
		if err = json.Unmarshal(b, r); err == nil {
			err = r.validate()
		}
		if err == nil && s.recordPath(r.ID) != path {
			err = errors.New("its name is not its id")
		}
		if err != nil {
			s.log.Warn("image record set aside", "path", path, "error", err)
			if err := os.Rename(path, path+damagedSuffix); err != nil {
				return err
			}
			continue
		}
		s.images[r.ID] = r
	}
	return s.settleNames()
}

// settleNames gives a name that two records claim to the later one.
func (s *Store) settleNames() error {
	owner := map[string]*record{}
	for _, r := range s.images {
		for name, seq := range r.Names {
			s.seq = max(s.seq, seq)
			if o := owner[name]; o == nil || seq > o.Names[name] {
				owner[name] = r
			}
		}
	}
	for _, r := range s.images {
		lost := false
		for name := range r.Names {
			if owner[name] != r {
				delete(r.Names, name)
				lost = true
			}
		}
		if lost {
			if err := s.save(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// find looks an image up by id, name, digest or the start of its id. s.mu is held.
func (s *Store) find(ref string) (*record, error) {
	hex, isID := idPrefix(ref)
	if isID {
		if r := s.images[digest.NewDigestFromEncoded(digest.SHA256, hex)]; r != nil && !r.Removed {
			return r, nil
		}
	}
	parsed, perr := ParseRef(ref)
	var byPrefix []*record
	for _, r := range s.images {
		switch {
		case r.Removed:
		case perr == nil && r.called(parsed):
			return r, nil
		case isID && strings.HasPrefix(r.ID.Encoded(), hex):
			byPrefix = append(byPrefix, r)
		}
	}
	switch {
	case len(byPrefix) == 1:
		return byPrefix[0], nil
	case len(byPrefix) > 1:
		return nil, fmt.Errorf("image %q: %d images have ids that start so: %w", clip(ref), len(byPrefix), errdefs.ErrInvalidArgument)
	case perr != nil && !isID:
		return nil, perr
	}
	return nil, fmt.Errorf("image %q is not on this node, pull it first: %w", clip(ref), errdefs.ErrNotFound)
}
