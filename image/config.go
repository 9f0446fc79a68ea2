package image

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config is what a Store is opened with. Only Root must be set.
type Config struct {
	// Root is the store's folder. It is made when it is missing.
	Root string
	// RegistryConfigDir holds <host>/hosts.toml and certificates (certs.d). Empty: none.
	RegistryConfigDir string
	// DockerConfigPath is a docker config.json with credentials, read at each pull;
	// a file that is missing is an empty one. Empty: none.
	DockerConfigPath string
	// Platform is the guest's. Empty: linux/amd64.
	Platform string
	// Pinned are names of images that the node must not collect. A * at the end
	// matches anything.
	Pinned []string
	// DiscardBlobs drops the compressed layers once they are converted. It saves
	// disk; such images cannot be exported.
	DiscardBlobs bool
	// MaxDownloads bounds downloads at one time. Zero: 4.
	MaxDownloads int
	// MaxConversions bounds conversions at one time. Zero: the number of CPUs.
	MaxConversions int
	// ProgressTimeout ends a request to a registry when no byte came for so long.
	// Zero: one minute.
	ProgressTimeout time.Duration
	// KeepFailed is how long a pull that failed waits to be taken up again: so long the
	// part that it brought is kept. Zero: one hour.
	KeepFailed time.Duration
	// MaxLayerSize bounds one layer's file system, in bytes. Zero: 128 GiB.
	MaxLayerSize int64
	// UserAgent is what registries are told. Empty: "porthole".
	UserAgent string
	// Logger gets one line a pull, and progress. Nil: slog.Default.
	Logger *slog.Logger
	// Metrics counts what the store does. Nil: nothing is counted.
	Metrics *Metrics

	// apart merges no layers. Tests only.
	apart bool
	// maxMerged is what layers are merged up to, in bytes. Zero: layer.DefaultMaxMerged. Tests only.
	maxMerged int64
	// hook is called before each step that changes the disk; an error from it is
	// what a failing disk or a crash at that point would be. Tests only.
	hook func(step string) error
}

// maxDocument bounds manifests and configs, which are held in memory.
const maxDocument = 8 << 20

func (c *Config) complete() (ocispec.Platform, error) {
	var errs []error
	if c.Root == "" {
		errs = append(errs, errors.New("root is not set"))
	} else if abs, err := filepath.Abs(c.Root); err != nil {
		errs = append(errs, err)
	} else {
		c.Root = abs
	}
	if c.Platform == "" {
		c.Platform = "linux/amd64"
	}
	p, err := platforms.Parse(c.Platform)
	if err != nil {
		errs = append(errs, fmt.Errorf("platform %q: %w", c.Platform, err))
	}
	for name, n := range map[string]int64{
		"max downloads": int64(c.MaxDownloads), "max conversions": int64(c.MaxConversions),
		"progress timeout": int64(c.ProgressTimeout), "keep failed": int64(c.KeepFailed), "max layer size": c.MaxLayerSize,
	} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	if c.MaxDownloads == 0 {
		c.MaxDownloads = 4
	}
	if c.MaxConversions == 0 {
		c.MaxConversions = runtime.NumCPU()
	}
	if c.ProgressTimeout == 0 {
		c.ProgressTimeout = time.Minute
	}
	if c.KeepFailed == 0 {
		c.KeepFailed = time.Hour
	}
	if c.UserAgent == "" {
		c.UserAgent = "porthole"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := errors.Join(errs...); err != nil {
		return p, fmt.Errorf("image config: %w: %w", errdefs.ErrInvalidArgument, err)
	}
	return p, nil
}
