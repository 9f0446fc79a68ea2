package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/test/registry/debimage"
)

// pulled are the packages that the large image's layers are made of, one line for one
// layer: programs and libraries, then interpreters, tools and data.
var pulled = [][]string{
	{"libc6", "bash", "coreutils", "util-linux", "perl-base", "libssl3", "libstdc++6", "tzdata", "libperl5.36", "perl-modules-5.36", "cpp-12"},
	{"libpython3.11-minimal", "libpython3.11-stdlib", "git", "vim-runtime", "libicu72"},
}

const (
	// copies is how often the packages are in the large image, each time with other bytes.
	copies = 5
	// tallBytes is what the layer of 400 MB has of tar.
	tallBytes = 400e6
	// crowdEntries is how many entries the crowded layer has.
	crowdEntries = 1_000_000
)

func (o options) layerCache() string { return filepath.Join(o.cache, "bench") }

// largeImages are the image of ten layers whose pull is measured, and one with a single
// layer of 400 MB. Both hold what Debian's packages hold, several times: each time under
// another folder, and each byte changed by the number of the time. That packs as well as
// the package itself, and no layer is like another.
func largeImages(ctx context.Context, o options) (large, tall v1.Image, err error) {
	var sources []v1.Layer
	for _, packages := range pulled {
		img, err := debimage.Build(ctx, debimage.Spec{Packages: packages, CacheDir: o.debs()})
		if err != nil {
			return nil, nil, fmt.Errorf("build the image to pull: %w", err)
		}
		layers, err := img.Layers()
		if err != nil {
			return nil, nil, err
		}
		sources = append(sources, layers...)
	}
	var layers []v1.Layer
	for n := range copies {
		for _, source := range sources {
			id, err := source.DiffID()
			if err != nil {
				return nil, nil, err
			}
			l, err := debimage.KeptLayer(o.layerCache(), fmt.Sprint("copy ", n, id), func(w *tar.Writer) error {
				_, err := copyChanged(w, source, n)
				return err
			})
			if err != nil {
				return nil, nil, err
			}
			layers = append(layers, l)
		}
	}
	id, err := sources[0].DiffID()
	if err != nil {
		return nil, nil, err
	}
	one, err := debimage.KeptLayer(o.layerCache(), fmt.Sprint("tall ", tallBytes, id), func(w *tar.Writer) error {
		var size int64
		for n := 0; size < tallBytes; n++ {
			copied, err := copyChanged(w, sources[0], n)
			if err != nil {
				return err
			}
			size += copied
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if large, err = imageOf(layers...); err != nil {
		return nil, nil, err
	}
	tall, err = imageOf(one)
	return large, tall, err
}

// imageOf is an image for this platform that runs nothing.
func imageOf(layers ...v1.Layer) (v1.Image, error) {
	img, err := debimage.Build(context.Background(), debimage.Spec{})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layers...)
}

// copyChanged writes what a layer holds below a folder named for n, with each byte of its
// files changed by n, and returns how many bytes of tar that were.
func copyChanged(w *tar.Writer, source v1.Layer, n int) (int64, error) {
	rc, err := source.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer rc.Close()
	counted := &changedReader{r: rc}
	folder := fmt.Sprintf("copy-%d/", n)
	for tr := tar.NewReader(counted); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return counted.n, nil
		}
		if err != nil {
			return 0, err
		}
		h.Name = folder + strings.TrimPrefix(h.Name, "./")
		if h.Typeflag == tar.TypeLink {
			h.Linkname = folder + strings.TrimPrefix(h.Linkname, "./")
		}
		h.Format = tar.FormatUnknown
		if err := w.WriteHeader(h); err != nil {
			return 0, err
		}
		if _, err := io.Copy(w, &changedReader{r: tr, by: byte(n)}); err != nil {
			return 0, err
		}
	}
}

// changedReader changes each byte that it reads, and counts them.
type changedReader struct {
	r  io.Reader
	by byte
	n  int64
}

func (c *changedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	if c.by != 0 {
		for i := range b[:n] {
			b[i] ^= c.by
		}
	}
	return n, err
}

// crowdImage has one layer of a million entries, most of them small files.
func crowdImage(o options) (v1.Image, error) {
	const perFolder = 1000
	l, err := debimage.KeptLayer(o.layerCache(), fmt.Sprint("crowd ", crowdEntries), func(w *tar.Writer) error {
		body := []byte("small\n")
		for i := range crowdEntries {
			folder := fmt.Sprintf("crowd/%04d/", i/perFolder)
			h := &tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: 0o755}
			if i%perFolder > 0 {
				h = &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%sfile-%06d", folder, i), Mode: 0o644, Size: int64(len(body))}
			}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			if h.Typeflag == tar.TypeDir {
				continue
			}
			if _, err := w.Write(body); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return imageOf(l)
}
