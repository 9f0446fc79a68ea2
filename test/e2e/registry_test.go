package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// fixtureRegistry is a registry on loopback with the images of all tests.
type fixtureRegistry struct {
	*registry.Registry
	host string
	// References of images; the last five cannot be pulled.
	sample, stopsignal, layered, links, big      string
	wrongDigest, notTar, climbing, cut, stalling string

	layeredBlobs []v1.Hash
}

func startRegistry(ctx context.Context) (*fixtureRegistry, error) {
	reg, err := registry.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &fixtureRegistry{Registry: reg, host: reg.Host()}
	if err := r.fill(ctx, filepath.Join(env.cache, "debs")); err != nil {
		reg.Close()
		return nil, err
	}
	return r, nil
}

func (r *fixtureRegistry) fill(ctx context.Context, cache string) error {
	sample, err := debimage.Sample(ctx, cache)
	if err != nil {
		return err
	}
	stopsignal, err := debimage.Variant(ctx, cache, func(c *v1.Config) {
		c.StopSignal, c.Volumes = "SIGUSR1", map[string]struct{}{"/var/lib/app": {}}
	})
	if err != nil {
		return err
	}
	layered, err := debimage.Layered(ctx, cache)
	if err != nil {
		return err
	}
	if r.layeredBlobs, err = blobs(layered); err != nil {
		return err
	}
	noise := make([]byte, 8<<20) // does not compress
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, i := range []struct {
		ref  *string
		name string
		img  func() (v1.Image, error)
	}{
		{&r.sample, "sample", given(sample)},
		{&r.stopsignal, "stopsignal", given(stopsignal)},
		{&r.layered, "layered", given(layered)},
		{&r.links, "links", files(sample, map[string]debimage.File{
			"etc/resolv.conf": {Symlink: "../run/systemd/resolve/stub-resolv.conf"}, "data": {Symlink: "/srv/data"}, "loop": {Symlink: "loop"},
		})},
		{&r.big, "big", files(sample, map[string]debimage.File{"noise": {Content: string(noise)}})},
		{&r.wrongDigest, "wrong-digest", files(sample, map[string]debimage.File{"a": {Content: "a"}})},
		{&r.notTar, "not-tar", raw(sample, bytes.Repeat([]byte("this is no tar "), 100))},
		{&r.climbing, "climbing", raw(sample, tarOf("../../climbed", "out"))},
		{&r.cut, "cut", files(sample, map[string]debimage.File{"noise": {Content: string(noise[:1<<20])}})},
		{&r.stalling, "stalling", files(sample, map[string]debimage.File{"noise": {Content: string(noise[:1<<20])}})},
	} {
		img, err := i.img()
		if err != nil {
			return fmt.Errorf("image %s: %w", i.name, err)
		}
		if _, err := r.Push(ctx, "e2e/"+i.name, "1", img); err != nil {
			return err
		}
		*i.ref = fmt.Sprintf("%s/e2e/%s:1", r.host, i.name)
	}
	r.Inject(registry.Fault{Path: "e2e/wrong-digest/blobs/", Corrupt: true})
	r.Inject(registry.Fault{Path: "e2e/cut/blobs/", CutAfter: 1000, NoRange: true})
	r.Inject(registry.Fault{Path: "e2e/stalling/blobs/", Stall: true})
	return nil
}

// blobGets counts the blobs of the layered image that were fetched so far.
func (r *fixtureRegistry) blobGets() (n int) {
	for _, d := range r.layeredBlobs {
		n += r.BlobGets("e2e/layered", d)
	}
	return n
}

// blobs lists the digests of an image's config and layers.
func blobs(img v1.Image) ([]v1.Hash, error) {
	config, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	all := []v1.Hash{config}
	for _, l := range layers {
		d, err := l.Digest()
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func given(img v1.Image) func() (v1.Image, error) {
	return func() (v1.Image, error) { return img, nil }
}

// files puts a layer of files over an image.
func files(base v1.Image, f map[string]debimage.File) func() (v1.Image, error) {
	return func() (v1.Image, error) {
		layer, err := debimage.FileLayer(f)
		if err != nil {
			return nil, err
		}
		return mutate.AppendLayers(base, layer)
	}
}

// raw puts a layer of any bytes over an image.
func raw(base v1.Image, b []byte) func() (v1.Image, error) {
	return func() (v1.Image, error) {
		layer, err := debimage.TarLayer(b)
		if err != nil {
			return nil, err
		}
		return mutate.AppendLayers(base, layer)
	}
}

func tarOf(name, content string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		panic(err) // a constant header into memory
	}
	if _, err := w.Write([]byte(content)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
