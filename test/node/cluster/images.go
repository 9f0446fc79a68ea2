package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

const (
	// imageHost is the registry that references name; it is served from loopback.
	imageHost = "images.test"

	// Image is busybox with the program of test/node/probe at /probe, which it runs as a
	// server on ports 8080 (HTTP) and 9090 (gRPC).
	Image = imageHost + "/sample:1"
	// NextImage is Image with another VERSION in its environment.
	NextImage = imageHost + "/sample:2"
)

// Fetch puts into the cache what images are made of.
func Fetch(ctx context.Context, cache string) error {
	_, err := debimage.Sample(ctx, filepath.Join(cache, "debs"))
	return err
}

func (c *Cluster) startRegistry(ctx context.Context) error {
	r, err := registry.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	c.Registry = r
	c.stop.Push("end the registry", func(context.Context) error { return r.Close() })
	for _, tag := range []string{"1", "2"} {
		img, err := image(ctx, c.config, tag)
		if err != nil {
			return err
		}
		if _, err := r.Push(ctx, "sample", tag, img); err != nil {
			return err
		}
	}
	return nil
}

func image(ctx context.Context, config Config, version string) (v1.Image, error) {
	spec, err := debimage.SampleSpec(ctx, filepath.Join(config.Cache, "debs"))
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(filepath.Join(config.Bin, "probe"))
	if err != nil {
		return nil, err
	}
	spec.Files = append(spec.Files, map[string]debimage.File{"probe": {Mode: 0o755, Content: string(program)}})
	spec.Config.Cmd = []string{"/probe", "serve"}
	spec.Config.Env = append(spec.Config.Env, "VERSION="+version)
	return debimage.Build(ctx, spec)
}

// mirror makes a runtime take the registry on loopback for the one that references name.
func (c *Cluster) mirror(s *harness.Server) error {
	dir := filepath.Join(s.Dir, "certs.d", imageHost)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", c.Registry.URL(), c.Registry.URL())
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o644)
}
