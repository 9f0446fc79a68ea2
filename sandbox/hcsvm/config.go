package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hvsock"
	"github.com/porthole-run/porthole/internal/localsock"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/sandbox"
)

// Config is what a Driver is made from.
type Config struct {
	// Host is the Host Compute Service.
	Host *hcs.Host
	// CommandLine is the kernel command line that the guest's bundle asks for. What
	// depends on the machine (console, clock) is added by the driver.
	CommandLine string
	// Dial connects to a port of a VM, by its GUID. nil: hvsock.Dial. An error that is
	// hvsock.ErrRefused is tried again while the VM runs.
	Dial func(ctx context.Context, vmID string, port uint32) (hvsock.Conn, error)
	// ListenPipe makes a named pipe with a security descriptor in SDDL. nil: Windows'.
	ListenPipe func(path, sddl string) (net.Listener, error)
	// Endpoint looks up an endpoint of HNS. NotFound when there is none. nil: VMs have no
	// NICs, and AttachNIC is NotImplemented.
	Endpoint func(ctx context.Context, namespace, id string) (Endpoint, error)
	// Ports are those that the host may dial in the guest. nil: the agent's.
	Ports []uint32
	// StartTimeout bounds the making and the starting of a VM by HCS, each. 0: 60 s.
	StartTimeout time.Duration
	// Log gets what no caller is told: nil: nothing is logged.
	Log *slog.Logger
}

// Endpoint is what a NIC is attached to.
type Endpoint struct {
	ID  string // a GUID
	MAC net.HardwareAddr
}

// Driver makes VMs of one Config.
type Driver struct {
	config Config // immutable after New
}

var _ sandbox.Driver = (*Driver)(nil)

// ErrOtherID is of a VM that HCS gave another id than it was asked for.
var ErrOtherID = errors.New("HCS gave the VM another id")

// New checks the config. InvalidArgument when it makes no sense; whether the machine has
// Hyper-V is for hcs.Open and Create to say.
func New(c Config) (*Driver, error) {
	if c.Host == nil {
		return nil, fmt.Errorf("configure hcs: no host: %w", errdefs.ErrInvalidArgument)
	}
	if c.Dial == nil {
		c.Dial = hvsock.Dial
	}
	if c.ListenPipe == nil {
		c.ListenPipe = func(path, sddl string) (net.Listener, error) {
			return localsock.ListenPipe(path, localsock.PipeConfig{Descriptor: sddl})
		}
	}
	if c.Ports == nil {
		c.Ports = []uint32{api.PortControl, api.PortStdio, api.PortForward, api.PortShare}
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Driver{config: c}, nil
}

// Create implements sandbox.Driver.
func (d *Driver) Create(ctx context.Context, c sandbox.VMConfig) (sandbox.VM, error) {
	v, err := d.create(ctx, c, saved{})
	if err != nil {
		return nil, fmt.Errorf("create vm %s: %w", c.ID, err)
	}
	return v, nil
}

// Document is what Create would send for c, without a console, and the id that the VM would have
// in HCS: for who looks at how the service takes it. Nothing is made, or granted.
func (d *Driver) Document(c sandbox.VMConfig) (id string, _ hcs.ComputeSystem, _ error) {
	if err := c.Validate(); err != nil {
		return "", hcs.ComputeSystem{}, fmt.Errorf("describe vm %s: %w", c.ID, err)
	}
	id = systemID(c.ID)
	doc := machine{
		vcpus: c.VCPUs, memoryMiB: c.MemoryMiB + c.MemoryMiB%2, kernel: c.Kernel, initrd: c.Initrd,
		commandLine: d.config.CommandLine, ports: d.config.Ports,
	}.document()
	doc.VirtualMachine.Devices.ComPorts = nil
	return id, doc, nil
}

func (d *Driver) create(ctx context.Context, c sandbox.VMConfig, from saved) (*VM, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.NICs > maxNICs {
		return nil, fmt.Errorf("%d nics, and Hyper-V gives a VM %d: %w", c.NICs, maxNICs, errdefs.ErrInvalidArgument)
	}
	for what, path := range map[string]string{"kernel": c.Kernel, "initrd": c.Initrd} {
		if err := checkFile(path); err != nil {
			return nil, fmt.Errorf("examine %s: %w", what, err)
		}
		// The worker opens these by path, as an account of its own.
		if err := d.config.Host.GrantGroup(path); err != nil {
			return nil, fmt.Errorf("let VMs read %s: %w", what, err)
		}
	}
	v := newVM(d.config, c)
	if err := v.make(ctx, from); err != nil {
		return nil, err
	}
	return v, nil
}

// checkFile makes sure of a file with content, at a path that HCS can use.
func checkFile(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is not an absolute path: %w", path, errdefs.ErrInvalidArgument)
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", errdefs.ErrPermissionDenied, err)
	case err != nil:
		return err
	case !st.Mode().IsRegular() || st.Size() == 0:
		return fmt.Errorf("%s is not a file with content: %w", path, errdefs.ErrInvalidArgument)
	}
	return nil
}

// EndLeftovers ends the VMs that Porthole owns on this host but for those whose ids live
// names: what a shim could not take with it. It returns the ids in HCS of those that it has ended; errors of
// single VMs are joined.
func (d *Driver) EndLeftovers(ctx context.Context, live []string) ([]string, error) {
	keep := make(map[string]bool, len(live))
	for _, id := range live {
		keep[systemID(id)] = true
	}
	all, err := d.config.Host.List(ctx, Owner)
	if err != nil {
		return nil, fmt.Errorf("list VMs: %w", err)
	}
	var ended []string
	var errs []error
	for _, p := range all {
		id := strings.ToLower(p.ID)
		if keep[id] {
			continue
		}
		if err := endSystem(ctx, d.config.Host, p.ID); err != nil {
			errs = append(errs, fmt.Errorf("end left-over VM %s: %w", id, err))
			continue
		}
		d.config.Log.Info("a VM that nobody had was ended", logkey.VMID, id)
		ended = append(ended, id)
	}
	return ended, errors.Join(errs...)
}

// endSystem ends a compute system that somebody else may hold. One that is gone is not an error.
func endSystem(ctx context.Context, host *hcs.Host, id string) error {
	s, err := host.Open(ctx, id, func(hcs.Event) {})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.Terminate(ctx)
	if hasEnded(err) {
		err = nil
	}
	return errors.Join(err, s.Close(ctx))
}

// hasEnded tells whether a call failed since the VM has ended already.
func hasEnded(err error) bool {
	for _, code := range []hcs.HRESULT{hcs.SystemAlreadyStopped, hcs.SystemNotFound, hcs.Terminated, hcs.UnexpectedExit} {
		if hcs.HasCode(err, code) {
			return true
		}
	}
	return false
}
