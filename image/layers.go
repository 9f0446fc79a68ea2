package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/internal/phase"
)

const (
	vhdSuffix = ".vhd"
	tempLayer = ".tmp-"
)

// layerSuffix ends the names of layers of the format that this build makes and guests of
// this build read. A layer of another build's format is as one that is not there: it is
// made anew from its blob, or its image has to be pulled again.
var layerSuffix = fmt.Sprintf(".v%d%s", layer.Format, vhdSuffix)

// layerPath is where the layer with a diff ID is kept. The digest must be valid.
func (s *Store) layerPath(diffID digest.Digest) string {
	return filepath.Join(s.layersDir, diffID.Algorithm().String()+"-"+diffID.Encoded()+layerSuffix)
}

// layerID reads a layer's file name. It tells whether it is a layer, and whether it is
// one of this build's format.
func layerID(name string) (id digest.Digest, ok, current bool) {
	base, ok := strings.CutSuffix(name, vhdSuffix)
	if !ok {
		return "", false, false
	}
	base, format, _ := strings.Cut(base, ".") // without one it is of the first format
	alg, hex, _ := strings.Cut(base, "-")
	id = digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
	return id, id.Validate() == nil, "."+format+vhdSuffix == layerSuffix
}

// ensureLayer fetches a layer and converts it, where that is not done yet.
func (s *Store) ensureLayer(ctx context.Context, o origin, blob ocispec.Descriptor, diffID digest.Digest) (err error) {
	path := s.layerPath(diffID)
	have, err := exists(path)
	if err != nil || have && s.cfg.DiscardBlobs {
		return err
	}
	if have { // nothing that takes time: no phases
		return s.fetch(ctx, o, blob)
	}
	err = phase.Do(ctx, "fetch layer", func(ctx context.Context) error { return s.fetch(ctx, o, blob) })
	if err != nil {
		return err
	}
	ctx, end := phase.Begin(ctx, "convert layer")
	defer func() { end(err) }()
	return s.flights.do(ctx, "layer:"+diffID.String(), func(ctx context.Context) error {
		if have, err := exists(path); err != nil || have {
			return err
		}
		if err := s.convertLayer(ctx, blob, diffID, path); err != nil {
			return fmt.Errorf("convert layer %s: %w", blob.Digest, err)
		}
		return nil
	})
}

// convertLayer makes the disk of a layer.
func (s *Store) convertLayer(ctx context.Context, blob ocispec.Descriptor, diffID digest.Digest, path string) error {
	return s.writeDisk(ctx, path, 1, func(f *os.File) (layer.Result, error) {
		return layer.Convert(ctx, s.blob(blob), f, layer.Options{DiffID: diffID, MaxSize: s.cfg.MaxLayerSize})
	})
}

// mergeLayers makes the disk of several layers.
func (s *Store) mergeLayers(ctx context.Context, d disk, path string) error {
	var parts []layer.Part
	for _, l := range d.layers {
		parts = append(parts, layer.Part{Source: s.blob(l.Blob), DiffID: l.DiffID})
	}
	return s.writeDisk(ctx, path, len(parts), func(f *os.File) (layer.Result, error) {
		return layer.Merge(ctx, parts, f, layer.MergeOptions{Lowest: d.lowest, MaxBytes: s.cfg.maxMerged, MaxSize: s.cfg.MaxLayerSize})
	})
}

// blob opens a layer's bytes.
func (s *Store) blob(blob ocispec.Descriptor) layer.Source {
	return func(ctx context.Context) (io.ReadCloser, error) {
		ra, err := s.content.ReaderAt(ctx, ocispec.Descriptor{Digest: blob.Digest})
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{content.NewReader(ra), ra}, nil
	}
}

// writeDisk writes the disk of so many layers beside its place and moves it there once it
// is whole and on the disk.
func (s *Store) writeDisk(ctx context.Context, path string, layers int, convert func(*os.File) (layer.Result, error)) (err error) {
	if err := s.step("create layer"); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.layersDir, tempLayer)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	res, began, err := s.convert(ctx, f, convert)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"sync layer", f.Sync},
		{"protect layer", func() error { return f.Chmod(0o444) }},
		{"close layer", f.Close},
		{"name layer", func() error { return os.Rename(f.Name(), path) }},
	} {
		if err := s.step(step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	took := time.Since(began)
	s.cfg.Metrics.converted(layers, res.TarBytes, took)
	s.log.DebugContext(ctx, "layer converted", "diff_id", res.DiffID.String(), "layers", layers, "bytes", res.TarBytes,
		"duration", took, "read_twice", res.Twice)
	return nil
}

// convert writes a disk's file as one of the conversions that may run at one time, and
// tells when that began. What follows, until the file is on the disk, waits for the disk
// and not for a CPU: the next conversion runs beside it.
func (s *Store) convert(ctx context.Context, f *os.File, convert func(*os.File) (layer.Result, error)) (layer.Result, time.Time, error) {
	if err := s.conversions.acquire(ctx); err != nil {
		return layer.Result{}, time.Time{}, err
	}
	defer s.conversions.release()
	defer s.cfg.Metrics.start("convert")()
	began := time.Now()
	res, err := convert(f)
	return res, began, err
}

// checkLayer refuses what is not a layer that can be read.
func checkLayer(desc ocispec.Descriptor) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	switch mt := desc.MediaType; {
	case strings.HasSuffix(mt, "+encrypted"):
		return fmt.Errorf("layer %s is encrypted: %w", desc.Digest, errdefs.ErrNotImplemented)
	case strings.HasPrefix(mt, "application/vnd.oci.image.layer."),
		strings.HasPrefix(mt, "application/vnd.docker.image.rootfs."):
		return nil
	default:
		return fmt.Errorf("layer %s has media type %q: %w", desc.Digest, clip(mt), errdefs.ErrInvalidArgument)
	}
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
