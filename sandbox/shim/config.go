package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/atomicfile"
	"github.com/porthole-run/porthole/sandbox"
)

// configVersion is the version of shim.json. A shim reads its own build's only: daemon
// and shim begin from the same executable.
const configVersion = 1

const maxConfigBytes = 1 << 20

// config is shim.json: what the Launcher tells a shim.
type config struct {
	Version      int             `json:"version"`
	ID           string          `json:"id"`
	VCPUs        int             `json:"vcpus"`
	MemoryMiB    int             `json:"memoryMiB"`
	Pods         int             `json:"pods,omitempty"` // how many it may hold; 0: one
	Kernel       string          `json:"kernel"`
	Initrd       string          `json:"initrd"`
	Driver       json.RawMessage `json:"driver"`
	StartTimeout time.Duration   `json:"startTimeoutNanos"`
	LogLevel     slog.Level      `json:"logLevel"`
	Build        string          `json:"build"` // of the daemon that launched it
	Template     *templateConfig `json:"template,omitempty"`
	// Scratch: this VM, which is to be a template, gets a scratch disk, whose file is passed.
	Scratch bool `json:"scratch,omitempty"`
	// Restore is what the VM is restored from, instead of being booted or cloned.
	Restore *sandbox.ShimRestore `json:"restore,omitempty"`
	// Cgroups are the folders of the host's control groups that the shim joins.
	Cgroups []string `json:"cgroups,omitempty"`
}

// templateConfig says that the VM is to be a clone. The template's files are passed as
// open descriptors.
type templateConfig struct {
	ID          string `json:"id"`
	StateSHA256 string `json:"stateSha256"`
	Scratch     bool   `json:"scratch,omitempty"` // it has a scratch disk
}

func (c *config) validate() error {
	var errs []error
	if c.Version != configVersion {
		errs = append(errs, fmt.Errorf("version is %d, this shim reads %d", c.Version, configVersion))
	}
	if err := checkDirName(c.ID); err != nil {
		errs = append(errs, err)
	}
	if c.VCPUs < 1 {
		errs = append(errs, fmt.Errorf("vcpus is %d", c.VCPUs))
	}
	if c.MemoryMiB < 1 {
		errs = append(errs, fmt.Errorf("memoryMiB is %d", c.MemoryMiB))
	}
	if c.Pods < 0 || c.Pods > sandbox.MaxNICs {
		errs = append(errs, fmt.Errorf("pods is %d", c.Pods))
	}
	if c.StartTimeout < 0 {
		errs = append(errs, fmt.Errorf("startTimeoutNanos is %d", c.StartTimeout))
	}
	if c.Template != nil && c.Template.ID == "" {
		errs = append(errs, errors.New("template has no id"))
	}
	if c.Restore != nil && c.Template != nil {
		errs = append(errs, errors.New("there is both a template and something to restore"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, errors.Join(errs...))
	}
	return nil
}

func parseConfig(b []byte) (*config, error) {
	var c config
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the configuration: %w", errdefs.ErrInvalidArgument)
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &c, nil
}

func readConfig(path string) (*config, error) {
	b, err := readBounded(path, maxConfigBytes)
	if err != nil {
		return nil, fmt.Errorf("read shim configuration: %w", err)
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("read shim configuration %s: %w", path, err)
	}
	return c, nil
}

// writeJSON writes what is of use while the host runs: with that the processes are gone that
// it is of.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Replace(path, append(b, '\n'), 0o600)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}
