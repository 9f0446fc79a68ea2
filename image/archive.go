package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/internal/diskfull"
)

// Import installs the images of an archive, an OCI layout or what docker save writes,
// in a tar that may be compressed. It returns their ids. Images without a name in the
// archive are known by id.
func (s *Store) Import(ctx context.Context, r io.Reader) ([]string, error) {
	ids, err := s.importArchive(ctx, r)
	if err != nil {
		err = fmt.Errorf("import: %w", err)
	}
	return ids, err
}

func (s *Store) importArchive(ctx context.Context, r io.Reader) ([]string, error) {
	ctx, leave, err := s.gate.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	s.importing.Lock()
	defer s.importing.Unlock()
	s.mu.Lock()
	// What an import that was cut left must not be taken for the start of this one's.
	err = s.collect(ctx, true)
	s.busy++
	s.mu.Unlock()
	defer s.importDone(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := layer.Decompress(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	index, err := archive.ImportIndex(ctx, s.content, plain)
	if err != nil {
		return nil, archiveError(ctx, s.root, err)
	}
	return s.installIndex(ctx, index)
}

func (s *Store) importDone(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if err := s.collect(context.WithoutCancel(ctx), s.busy == 0); err != nil {
		s.log.WarnContext(ctx, "collecting unused image files", "error", err)
	}
}

// archiveError gives errors of reading an archive a kind: unless it is the disk's or
// the caller's, the fault is the archive's.
func archiveError(ctx context.Context, root string, err error) error {
	var perr *fs.PathError
	switch {
	case diskfull.Is(err):
		return diskError(root, err)
	case ctx.Err() != nil, errors.As(err, &perr), errdefs.IsInvalidArgument(err):
		return err
	}
	return fmt.Errorf("not a whole image archive: %w: %w", errdefs.ErrInvalidArgument, err)
}

// installIndex installs the images of an archive's index that fit the platform.
func (s *Store) installIndex(ctx context.Context, desc ocispec.Descriptor) ([]string, error) {
	var index ocispec.Index
	if err := s.document(ctx, origin{}, desc, &index); err != nil {
		return nil, err
	}
	var ids []string
	var other error
	for _, m := range index.Manifests {
		if m.Platform != nil && !s.platform.Match(*m.Platform) && !images.IsIndexType(m.MediaType) {
			continue
		}
		names, err := archiveNames(m)
		if err != nil {
			return ids, err
		}
		id, err := s.install(ctx, origin{}, m, names)
		if errdefs.IsNotFound(err) {
			other = err // an index without our platform
			continue
		}
		if err != nil {
			return ids, fmt.Errorf("image %s: %w", m.Digest, err)
		}
		if !slices.Contains(ids, id.String()) {
			ids = append(ids, id.String())
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("archive has no image for %s: %w", s.cfg.Platform, errors.Join(errdefs.ErrNotFound, other))
	}
	return ids, nil
}

// archiveNames reads the name of an image in an archive. The OCI layout allows a bare
// tag, which is no name.
func archiveNames(m ocispec.Descriptor) (naming, error) {
	name := m.Annotations[images.AnnotationImageName]
	if ref := m.Annotations[ocispec.AnnotationRefName]; name == "" && strings.ContainsAny(ref, "/:") {
		name = ref
	}
	if name == "" {
		return naming{}, nil
	}
	ref, err := ParseRef(name)
	if err != nil {
		return naming{}, err
	}
	n := naming{digests: []string{ref.withDigest(m.Digest)}}
	if ref.Digest == "" {
		n.tags = []string{ref.String()}
	}
	return n, nil
}

// ImportPath imports an archive file, or a folder that holds an OCI layout. Errors name
// the path.
func (s *Store) ImportPath(ctx context.Context, path string) ([]string, error) {
	ids, err := s.importPath(ctx, path)
	if err != nil {
		err = fmt.Errorf("import %s: %w", path, err)
	}
	return ids, err
}

func (s *Store) importPath(ctx context.Context, path string) ([]string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return s.importArchive(ctx, f)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := tar.NewWriter(pw)
		err := w.AddFS(root.FS())
		pw.CloseWithError(errors.Join(err, w.Close()))
	}()
	ids, err := s.importArchive(ctx, pr)
	pr.CloseWithError(errClosed)
	<-done
	return ids, err
}

// Export writes images as an OCI layout in a tar that docker load reads too. Only the
// node's platform is in it. FailedPrecondition when a blob was not kept (see
// Config.DiscardBlobs).
func (s *Store) Export(ctx context.Context, refs []string, w io.Writer) error {
	if len(refs) == 0 {
		return fmt.Errorf("export: no image named: %w", errdefs.ErrInvalidArgument)
	}
	ctx, leave, err := s.gate.enter(ctx)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer leave()
	opts := []archive.ExportOpt{archive.WithAllPlatforms()}
	for _, ref := range refs {
		s.mu.Lock()
		r, err := s.find(ref)
		if err != nil {
			s.mu.Unlock()
			return fmt.Errorf("export: %w", err)
		}
		defer s.pinImage(r)()
		names := r.names()
		s.mu.Unlock()
		if err := s.exportable(ctx, r); err != nil {
			return fmt.Errorf("export %s: %w", ref, err)
		}
		if p, err := ParseRef(ref); err == nil && slices.Contains(names, p.String()) {
			names = []string{p.String()}
		}
		opts = append(opts, archive.WithManifest(r.Manifest, names...))
	}
	if err := archive.Export(ctx, s.content, w, opts...); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func (s *Store) exportable(ctx context.Context, r *record) error {
	var missing digest.Digest
	for _, l := range r.Layers {
		if !s.hasBlob(ctx, l.Blob) {
			missing = l.Blob.Digest
		}
	}
	if missing != "" {
		return fmt.Errorf("layer %s was discarded after its conversion: %w", missing, errdefs.ErrFailedPrecondition)
	}
	return nil
}
