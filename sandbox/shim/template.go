package shim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/template"
)

const (
	// defaultCloneTimeout bounds the attempt to clone a VM, which takes a tenth of a second
	// on an idle host. A VM that has not come up by then boots instead.
	defaultCloneTimeout = 10 * time.Second
	// maxTemplateState bounds what is read of a template's state.
	maxTemplateState = 16 << 20
)

// Template is what a VM is cloned from.
type Template struct {
	template.Files // closed once the VM has started
	ID             string
	StateSHA256    string // hexadecimal
}

func (t *Template) close() { closeFiles(t.Files) }

// state reads the state, which must be the one that was saved.
func (t *Template) state() ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(t.State, 0, maxTemplateState))
	if err != nil {
		return nil, fmt.Errorf("read state of template: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != t.StateSHA256 {
		return nil, fmt.Errorf("state of template has digest %x, not %s: %w", sum, t.StateSHA256, errdefs.ErrDataLoss)
	}
	return b, nil
}

// cloneVM makes a VM from the template and returns when its agent answers and has
// randomness of its own. On error nothing is left.
func cloneVM(ctx context.Context, cfg ServerConfig) (running, error) {
	t := cfg.Template
	cloner, ok := cfg.Driver.(sandbox.Cloner)
	if !ok {
		return running{}, fmt.Errorf("clone VM: the driver cannot: %w", errdefs.ErrNotImplemented)
	}
	timeout := cfg.CloneTimeout
	if timeout <= 0 {
		timeout = defaultCloneTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout,
		fmt.Errorf("the clone does not come up within %s: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	var vm sandbox.VM
	err := phase.Do(ctx, "clone vm", func(ctx context.Context) error {
		state, err := t.state()
		if err == nil {
			vm, err = cloner.Clone(ctx, cfg.VM, sandbox.Template{Memory: t.Memory, State: state, Scratch: t.Scratch})
		}
		return err
	})
	if err != nil {
		return running{}, fmt.Errorf("clone VM: %w", err)
	}
	client, err := goOn(ctx, vm, cfg.Version)
	if err != nil {
		return running{}, err
	}
	return running{vm: vm, guest: client, template: t.ID}, nil
}

// goOn starts a VM that is a copy of another, and returns when its agent answers and has
// randomness of its own. On error the VM has ended.
func goOn(ctx context.Context, vm sandbox.VM, version string) (*guest.Client, error) {
	client, err := boot(ctx, vm, guest.Connect, version)
	if err != nil {
		return nil, abandon(ctx, vm, err)
	}
	if !client.Info().Seeded {
		client.Close()
		return nil, abandon(ctx, vm, errNotSeeded)
	}
	return client, nil
}

// errNotSeeded says that clones of the VM would share their random numbers.
var errNotSeeded = fmt.Errorf("the agent does not seed the guest's random pool: %w", errdefs.ErrFailedPrecondition)

// saveTemplate boots a VM to an idle agent, saves it to the files and ends it.
func saveTemplate(ctx context.Context, cfg ServerConfig, files template.Files) (err error) {
	cloner, ok := cfg.Driver.(sandbox.Cloner)
	if !ok {
		return fmt.Errorf("make template: the driver cannot: %w", errdefs.ErrNotImplemented)
	}
	vm, err := cloner.CreateTemplate(ctx, cfg.VM, files.Memory)
	if err != nil {
		return fmt.Errorf("make template: %w", err)
	}
	defer func() {
		// What it wrote to its memory is there once it has ended.
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, vm.Stop(sctx))
	}()
	client, err := boot(ctx, vm, guest.ConnectTemplate, cfg.Version)
	if err != nil {
		return fmt.Errorf("make template: %w", err)
	}
	info := client.Info()
	err = mountAhead(ctx, cfg.Log, vm, client, files.Scratch)
	client.Close()
	switch {
	case err != nil:
		return fmt.Errorf("make template: mount scratch disk: %w", err)
	case !info.Seeded:
		return fmt.Errorf("make template: %w", errNotSeeded)
	case info.BootID != "":
		return fmt.Errorf("make template: the agent has made a boot id up: %w", errdefs.ErrFailedPrecondition)
	}
	return vm.Save(ctx, files.State)
}

// mountAhead has the guest mount the scratch disk that its clones' pods get, if one is wanted
// and the agent can.
func mountAhead(ctx context.Context, log *slog.Logger, vm sandbox.VM, client *guest.Client, scratch *os.File) error {
	if scratch == nil {
		return nil
	}
	if !client.MountsScratch() {
		log.InfoContext(ctx, "template has no scratch disk: the agent is of an older build")
		return scratch.Truncate(0)
	}
	addr, err := vm.AttachDisk(ctx, sandbox.Disk{Path: passedPath(scratch), Format: sandbox.DiskRaw})
	if err != nil {
		return err
	}
	return client.MountScratch(ctx, guest.DiskAddress{Controller: addr.Controller, LUN: addr.LUN})
}

// takeTemplate finds a template for a VM that is to be launched; nil: it boots.
func (l *Launcher) takeTemplate(ctx context.Context, c sandbox.ShimConfig) *template.Lease {
	if l.config.Templates == nil || c.Pods > 1 { // templates have one NIC
		return nil
	}
	return l.config.Templates.Await(ctx, template.Size{
		Class: template.Class{VCPUs: c.VCPUs, MemoryMiB: c.MemoryMiB},
		Max:   template.Class{VCPUs: c.MaxVCPUs, MemoryMiB: c.MaxMemoryMiB},
	})
}

// reportTemplate tells what became of a launch with a template.
func reportTemplate(l *template.Lease, info sandbox.ShimInfo) {
	if info.Template != "" {
		l.Report(nil)
		return
	}
	l.Report(errors.New(info.TemplateError))
}
