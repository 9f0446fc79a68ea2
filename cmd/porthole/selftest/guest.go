package selftest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/sandbox"
)

// Sizes of the checks' VMs.
const (
	vmCPUs   = 2
	vmMemory = 1024 // MiB
)

// guestVM is a VM of the checks and what was seen of it. A step that failed has its error, and
// those after it were not tried.
type guestVM struct {
	config sandbox.VMConfig
	vm     sandbox.VM
	client *guest.Client

	createErr, startErr, connectErr error
	dials                           *dialLog
	create, start, connect          time.Duration
	ended                           bool
}

// err is the first step that failed.
func (g *guestVM) err() error {
	switch {
	case g.createErr != nil:
		return fmt.Errorf("the VM was not made: %w", g.createErr)
	case g.startErr != nil:
		return fmt.Errorf("the VM did not start: %w", g.startErr)
	case g.connectErr != nil:
		return fmt.Errorf("the guest did not answer: %w", g.connectErr)
	}
	return nil
}

// dialLog is a guest.Dialer that keeps the errors of a VM's.
type dialLog struct {
	vm sandbox.VM

	mu   sync.Mutex // guards errs
	errs []error
}

func (d *dialLog) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	c, err := d.vm.Dial(ctx, port)
	if err != nil && ctx.Err() == nil {
		d.mu.Lock()
		d.errs = append(d.errs, err)
		d.mu.Unlock()
	}
	return c, err
}

func (d *dialLog) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.errs...)
}

// connector is guest.Connect or its like for templates.
type connector func(ctx context.Context, d guest.Dialer, version string) (*guest.Client, error)

// config is of a new VM.
func (b *bench) config() (sandbox.VMConfig, error) {
	if b.lab.Host == nil {
		return sandbox.VMConfig{}, errMissing(b.lab.HostErr, "Host Compute Service")
	}
	if b.lab.Kernel == "" || b.lab.Initrd == "" {
		return sandbox.VMConfig{}, errors.New("there is no guest bundle")
	}
	return sandbox.VMConfig{
		ID: b.name(), Dir: b.lab.Dir, VCPUs: vmCPUs, MemoryMiB: vmMemory, Kernel: b.lab.Kernel, Initrd: b.lab.Initrd,
	}, nil
}

// boot makes a VM and runs it until its agent answers; connect nil: until it was started. It is ended
// with the run at the latest. The error is of what the host lacks for trying; how the VM fared
// is in the guestVM.
func (b *bench) boot(ctx context.Context, o DriverOptions, connect connector) (*guestVM, error) {
	c, err := b.config()
	if err != nil {
		return nil, err
	}
	d, err := b.lab.Driver(o)
	if err != nil {
		return nil, err
	}
	g := &guestVM{config: c}
	begin := time.Now()
	g.vm, g.createErr = d.Create(ctx, c)
	g.create = time.Since(begin)
	if g.createErr != nil {
		return g, nil
	}
	b.undo.Push("end VM "+c.ID, g.end)
	b.run(ctx, g, connect)
	return g, nil
}

// run starts a VM that was made.
func (b *bench) run(ctx context.Context, g *guestVM, connect connector) {
	begin := time.Now()
	g.startErr = g.vm.Start(ctx)
	g.start = time.Since(begin)
	if g.startErr != nil || connect == nil {
		return
	}
	g.dials = &dialLog{vm: g.vm}
	begin = time.Now()
	ctx, cancel := context.WithTimeout(ctx, b.lab.Times.Boot)
	defer cancel()
	g.client, g.connectErr = connect(ctx, g.dials, b.lab.Version)
	g.connect = time.Since(begin)
	if g.connectErr != nil {
		g.connectErr = errors.Join(g.connectErr, g.dials.failed())
	}
}

// end ends the VM; again is no error.
func (g *guestVM) end(ctx context.Context) error {
	if g.vm == nil || g.ended {
		return nil
	}
	var err error
	if g.client != nil {
		_ = g.client.Close() // its VM ends
	}
	if err = g.vm.Stop(ctx); err == nil {
		g.ended = true
	}
	return err
}

// booted is the VM that most rows look at.
func (b *bench) booted(ctx context.Context) (*guestVM, error) {
	if b.main == nil {
		g, err := b.boot(ctx, DriverOptions{}, guest.Connect)
		if err != nil {
			return nil, err
		}
		b.main = g
	}
	return b.main, nil
}

// answering is booted, as far as its agent answers.
func (b *bench) answering(ctx context.Context) (*guestVM, error) {
	g, err := b.booted(ctx)
	if err != nil {
		return nil, err
	}
	return g, g.err()
}

// file is a path for a file of a check.
func (b *bench) file(suffix string) string { return filepath.Join(b.lab.Dir, b.name()+suffix) }
