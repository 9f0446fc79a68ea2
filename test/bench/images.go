package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// images are what the registry serves.
type images struct {
	pause, sample, large string // references
	flat, deep, thick    string // the sample with 1 layer, with 20, and with 20 that are not small
	tall, crowd          string // one layer of 400 MB, and one of a million entries; the latter with -long only
	layers               []v1.Hash
	registry             *registry.Registry
	tarMB, sentMB        float64 // of large: its layers as tar, and as sent; 10^6 bytes
}

const largeName = "bench/large"

// serve builds the images and serves them on loopback.
func serve(ctx context.Context, o options, u *undo) (*images, error) {
	pause, err := pauseImage(ctx, o)
	if err != nil {
		return nil, err
	}
	sample, err := debimage.Sample(ctx, o.debs())
	if err != nil {
		return nil, err
	}
	deep, err := deepImage(sample, 0)
	if err != nil {
		return nil, err
	}
	thick, err := deepImage(sample, 3e6)
	if err != nil {
		return nil, err
	}
	r, err := startRegistry(u)
	if err != nil {
		return nil, err
	}
	out := &images{registry: r}
	type served struct {
		ref  *string
		name string
		img  v1.Image
	}
	all := []served{{&out.pause, "bench/pause", pause}, {&out.sample, "bench/sample", sample}, {&out.flat, "bench/flat", sample},
		{&out.deep, "bench/deep", deep}, {&out.thick, "bench/thick", thick}}
	if o.pullsLarge() {
		large, tall, err := largeImages(ctx, o)
		if err != nil {
			return nil, err
		}
		all = append(all, served{&out.large, largeName, large}, served{&out.tall, "bench/tall", tall})
		if err := out.count(large); err != nil {
			return nil, err
		}
	}
	if o.long && o.wants("unpack") {
		crowd, err := crowdImage(o)
		if err != nil {
			return nil, err
		}
		all = append(all, served{&out.crowd, "bench/crowd", crowd})
	}
	for _, i := range all {
		if _, err := r.Push(ctx, i.name, "latest", i.img); err != nil {
			return nil, err
		}
		*i.ref = r.Host() + "/" + i.name + ":latest"
	}
	return out, nil
}

// count notes the layers of the image whose pulls are measured, and their sizes.
func (i *images) count(large v1.Image) error {
	layers, err := large.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		tar, sent, err := sizes(l)
		if err != nil {
			return err
		}
		d, err := l.Digest()
		if err != nil {
			return err
		}
		i.layers = append(i.layers, d)
		i.tarMB += float64(tar) / 1e6
		i.sentMB += float64(sent) / 1e6
	}
	return nil
}

// startRegistry starts a registry on loopback, which u closes.
func startRegistry(u *undo) (*registry.Registry, error) {
	r, err := registry.Start("127.0.0.1:0")
	if err == nil {
		u.add(r.Close)
	}
	return r, err
}

// serveSample builds and serves the sample alone.
func serveSample(ctx context.Context, o options, u *undo) (*images, error) {
	sample, err := debimage.Sample(ctx, o.debs())
	if err != nil {
		return nil, err
	}
	r, err := startRegistry(u)
	if err != nil {
		return nil, err
	}
	_, err = r.Push(ctx, "bench/sample", "latest", sample)
	return &images{registry: r, sample: r.Host() + "/bench/sample:latest"}, err
}

// pullsLarge tells whether a run has a stage that pulls the large images, which take minutes to make.
func (o options) pullsLarge() bool { return o.wants("pulls") || o.wants("unpack") }

// sources fill the cache with what images are built from.
type sources struct {
	sample, large func(context.Context, options) error
}

// fromDebian are the sources that ask Debian's archive.
var fromDebian = sources{
	sample: func(ctx context.Context, o options) error {
		_, err := debimage.Sample(ctx, o.debs())
		return err
	},
	large: func(ctx context.Context, o options) error {
		_, _, err := largeImages(ctx, o)
		return err
	},
}

// fetch fills the cache with what the run of these options builds its images from. The sample
// is in each.
func (s sources) fetch(ctx context.Context, o options) error {
	if err := s.sample(ctx, o); err != nil || !o.pullsLarge() {
		return err
	}
	return s.large(ctx, o)
}

// fetched is how often the layers of the large image were asked for, which shows that
// a pull did the work.
func (i *images) fetched() int {
	n := 0
	for _, d := range i.layers {
		n += i.registry.BlobGets(largeName, d)
	}
	return n
}

func sizes(l v1.Layer) (tar, sent int64, err error) {
	rc, err := l.Uncompressed()
	if err != nil {
		return 0, 0, err
	}
	tar, err = io.Copy(io.Discard, rc)
	if err := errors.Join(err, rc.Close()); err != nil {
		return 0, 0, err
	}
	sent, err = l.Size()
	return tar, sent, err
}

// pauseImage holds the pause process that the guest has too, for the peer's sandboxes.
func pauseImage(ctx context.Context, o options) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "pause-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "pause")
	if err := command(ctx, "gcc", "-Os", "-s", "-static", "-o", bin, o.pauseSource); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	return debimage.Build(ctx, debimage.Spec{
		Files:  []map[string]debimage.File{{"pause": {Mode: 0o755, Content: string(program)}}},
		Config: v1.Config{Entrypoint: []string{"/pause"}},
	})
}

// deepLayers is how many layers the deep images have.
const deepLayers = 20

// deepImage is an image with layers on top, each with a file of its own, of a few bytes and
// of size more that do not pack. Porthole merges layers that are small.
func deepImage(img v1.Image, size int) (v1.Image, error) {
	have, err := img.Layers()
	if err != nil {
		return nil, err
	}
	noise := make([]byte, size)
	for i := len(have); i < deepLayers; i++ {
		rand.NewChaCha8([32]byte{byte(i)}).Read(noise)
		l, err := debimage.FileLayer(map[string]debimage.File{
			fmt.Sprintf("opt/layer-%d", i): {Mode: 0o644, Content: fmt.Sprintf("layer %d\n", i) + string(noise)},
		})
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return nil, err
		}
	}
	return img, nil
}
