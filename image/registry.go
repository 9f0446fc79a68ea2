package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/pelletier/go-toml/v2"
)

// origin is where the blobs of one image come from. Its fetcher is nil for archives,
// whose blobs are in the content store already.
type origin struct {
	ref     Ref
	host    string // of the registry, for errors
	fetcher remotes.Fetcher
}

// connect finds the image in its registry or a mirror.
func (s *Store) connect(ctx context.Context, ref Ref, auth Auth) (origin, ocispec.Descriptor, error) {
	o := origin{ref: ref, host: ref.Host}
	creds := credentials{registry: ref.Host, auth: auth, dockerFile: s.cfg.DockerConfigPath}
	if _, _, err := auth.login(); err != nil {
		return o, ocispec.Descriptor{}, fmt.Errorf("%s: %w", ref, err)
	}
	parent := ctx
	ctx, watch := newWatchdog(ctx, s.cfg.ProgressTimeout)
	defer watch.stop()
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts:   s.hosts(ctx, creds),
		Headers: http.Header{"User-Agent": {s.cfg.UserAgent}},
	})
	_, desc, err := resolver.Resolve(ctx, ref.String())
	if err != nil {
		return o, desc, registryError(parent, ref, o.host, watch.explain(err))
	}
	if o.fetcher, err = resolver.Fetcher(ctx, ref.String()); err != nil {
		return o, desc, registryError(parent, ref, o.host, err)
	}
	return o, desc, nil
}

// hosts reads hosts.toml for a registry and adds the credentials.
func (s *Store) hosts(ctx context.Context, creds credentials) docker.RegistryHosts {
	opts := config.HostOptions{Credentials: creds.get}
	if s.cfg.RegistryConfigDir != "" {
		find := config.HostDirFromRoot(s.cfg.RegistryConfigDir)
		opts.HostDir = func(host string) (string, error) {
			dir, err := find(host)
			if err == nil && dir != "" {
				err = checkHostsFile(filepath.Join(dir, "hosts.toml"))
			}
			return dir, err
		}
	}
	configured := config.ConfigureHosts(ctx, opts)
	return func(name string) ([]docker.RegistryHost, error) {
		hosts, err := configured(name)
		if err != nil {
			return nil, fmt.Errorf("registry configuration of %s: %w: %w", name, errdefs.ErrFailedPrecondition, err)
		}
		for i := range hosts {
			if token := creds.bearer(hosts[i].Host); token != "" {
				hosts[i].Authorizer = bearerAuthorizer(token)
			}
		}
		return hosts, nil
	}
}

// checkHostsFile refuses a hosts.toml that cannot be read. containerd would go on
// without it, and so ask the public registry where a mirror was meant.
func checkHostsFile(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var doc struct {
		Server string                    `toml:"server"`
		Host   map[string]map[string]any `toml:"host"`
	}
	if err := toml.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
