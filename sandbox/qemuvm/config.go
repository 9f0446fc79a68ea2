package qemuvm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/network/tapnet"
	"github.com/porthole-run/porthole/sandbox"
)

// DefaultBinary is the QEMU that is used when Config names none.
const DefaultBinary = "/usr/bin/qemu-system-x86_64"

// Accelerators. Auto is not one: Probe makes one of the others of it.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// Config is what a Driver is made from.
type Config struct {
	// Binary is the path of qemu-system-x86_64. Empty: DefaultBinary.
	Binary string
	// Accel is KVM or TCG.
	Accel string
	// UIDs are the users that QEMU runs as, one for each VM, and GID is their group:
	// all other than 0.
	UIDs UIDs
	GID  uint32
	// CommandLine is the kernel command line that the guest's bundle asks for. What
	// depends on the machine (console, clock) is added by the driver.
	CommandLine string
	// StartTimeout bounds the time from starting QEMU until it runs the guest. 0: 20 s.
	StartTimeout time.Duration
	// Log gets what no caller is told: nil: nothing is logged.
	Log *slog.Logger
}

// Driver makes VMs of one Config.
type Driver struct {
	config Config // immutable after New
}

var _ sandbox.Driver = (*Driver)(nil)

// New checks the config. InvalidArgument when it makes no sense; whether the machine has
// what it names is for Check and Create to say.
func New(c Config) (*Driver, error) {
	if err := c.UIDs.validate(); err != nil {
		return nil, fmt.Errorf("configure qemu: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if c.GID == 0 {
		return nil, fmt.Errorf("configure qemu: gid must not be root's: %w", errdefs.ErrInvalidArgument)
	}
	return newDriver(c)
}

func newDriver(c Config) (*Driver, error) {
	if c.Binary == "" {
		c.Binary = DefaultBinary
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 20 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if !filepath.IsAbs(c.Binary) {
		return nil, fmt.Errorf("configure qemu: binary %q is not an absolute path: %w", c.Binary, errdefs.ErrInvalidArgument)
	}
	if c.Accel != KVM && c.Accel != TCG {
		return nil, fmt.Errorf("configure qemu: accelerator %q is neither %s nor %s: %w", c.Accel, KVM, TCG, errdefs.ErrInvalidArgument)
	}
	return &Driver{config: c}, nil
}

// Create implements sandbox.Driver.
func (d *Driver) Create(ctx context.Context, c sandbox.VMConfig) (sandbox.VM, error) {
	v, err := d.create(ctx, c, source{})
	if err != nil {
		return nil, fmt.Errorf("create vm %s: %w", c.ID, err)
	}
	return v, nil
}

func (d *Driver) create(ctx context.Context, c sandbox.VMConfig, from source) (_ *VM, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}

	if err := from.check(c); err != nil {
		return nil, err
	}

	v := newVM(d.config, c)
	v.source = from
	defer func() {
		if err != nil {
			v.release()
		}
	}()
	if v.res.user, err = d.config.UIDs.take(); err != nil {
		return nil, err
	}
	if from.origin == booted || from.origin == saved {
		if v.res.kernel, err = d.openBundle("kernel", c.Kernel, v.res.user.uid); err != nil {
			return nil, err
		}
		if v.res.initrd, err = d.openBundle("initrd", c.Initrd, v.res.user.uid); err != nil {
			return nil, err
		}
	}
	for _, p := range []*pair{&v.res.qmp, &v.res.console, &v.res.mux} {
		if *p, err = newPair(); err != nil {
			return nil, fmt.Errorf("make socket pair: %w", err)
		}
	}
	for i := range max(c.NICs, 1) {
		name := c.ID
		if i > 0 {
			name = fmt.Sprintf("%s/%d", c.ID, i)
		}
		tap, err := tapnet.Create(tapnet.Name(name))
		if err != nil {
			return nil, err
		}
		v.res.taps = append(v.res.taps, tap)
	}
	return v, nil
}

// openBundle opens a part of the guest bundle. QEMU opens it again through /proc, as its
// own user: better said here than by QEMU in its words.
func (d *Driver) openBundle(what, path string, uid uint32) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			err = fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
		}
		return nil, fmt.Errorf("open %s: %w", what, err)
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("examine %s: %w", what, err)
	}
	if !st.Mode().IsRegular() || st.Size() == 0 {
		_ = f.Close()
		return nil, fmt.Errorf("%s %s is not a file with content: %w", what, path, errdefs.ErrInvalidArgument)
	}
	if !readable(st, uid, d.config.GID) {
		_ = f.Close()
		return nil, fmt.Errorf("%s %s cannot be read by uid %d: chmod a+r it: %w", what, path, uid, errdefs.ErrPermissionDenied)
	}
	return f, nil
}
