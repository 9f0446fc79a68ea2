package shim

import (
	"context"
	"fmt"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/sandbox"
)

// running is a VM whose agent answers.
type running struct {
	vm          sandbox.VM
	guest       *guest.Client
	template    string // id of what it is a clone of
	templateErr error  // why it is none though it was to be
}

// startVM makes a VM, a clone if there is a template that works, and returns when its
// agent answers. On error nothing is left.
func startVM(ctx context.Context, cfg ServerConfig) (running, error) {
	if cfg.Restore != nil {
		return restoreVM(ctx, cfg)
	}
	var failed error
	if t := cfg.Template; t != nil {
		defer t.close()
		r, err := cloneVM(ctx, cfg)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return running{}, err
		}
		cfg.Log.WarnContext(ctx, "vm could not be cloned and boots", "template", t.ID, logkey.Error, err)
		failed = err
	}
	var vm sandbox.VM
	err := phase.Do(ctx, "create vm", func(ctx context.Context) (err error) {
		vm, err = cfg.Driver.Create(ctx, cfg.VM)
		return err
	})
	if err != nil {
		return running{}, fmt.Errorf("create VM: %w", err)
	}
	client, err := boot(ctx, vm, guest.Connect, cfg.Version)
	if err != nil {
		return running{}, abandon(ctx, vm, err)
	}
	return running{vm: vm, guest: client, templateErr: failed}, nil
}

// abandon stops a VM that did not come up because of err.
func abandon(ctx context.Context, vm sandbox.VM, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if serr := vm.Stop(ctx); serr != nil {
		err = fmt.Errorf("%w (and stop VM: %w)", err, serr)
	}
	return err
}

// connector is guest.Connect or one like it.
type connector func(ctx context.Context, d guest.Dialer, version string) (*guest.Client, error)

// boot starts the VM and returns when its agent answers.
func boot(ctx context.Context, vm sandbox.VM, connect connector, version string) (*guest.Client, error) {
	if err := phase.Do(ctx, "start vm", vm.Start); err != nil {
		return nil, fmt.Errorf("start VM: %w", err)
	}
	dctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-vm.Done():
			cancel()
		case <-dctx.Done():
		}
	}()
	actx, answered := phase.Begin(dctx, "agent answers")
	client, err := connect(actx, vm, version)
	answered(err)
	cancel()
	<-watched
	if err == nil {
		return client, nil
	}
	select {
	case <-vm.Done():
		if e := vm.Err(); e != nil {
			return nil, fmt.Errorf("boot VM: %w", e)
		}
	default:
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, withConsole(fmt.Errorf("boot VM: agent does not answer: %w", err), vm.Console())
}
