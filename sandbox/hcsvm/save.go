package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

// Save writes the state of a running VM to a new file, whose name ends in .vmrs, and ends
// the VM as Stop does. A VM with disks or NICs is not saved: FailedPrecondition. When Save fails
// the VM runs on, unless it has ended by itself, and there is no file.
func (v *VM) Save(ctx context.Context, path string) error {
	err := v.change(ctx, func(ctx context.Context) error { return v.save(ctx, path) }, func(ctx context.Context) {
		if err := errors.Join(v.system.Resume(ctx), removeFile(path)); err != nil {
			v.log("a VM whose saving nobody waits for was not resumed", err)
		}
	})
	if err == nil {
		err = v.Stop(ctx)
	}
	if err != nil {
		return fmt.Errorf("save vm %s: %w", v.config.ID, err)
	}
	return nil
}

// save leaves the VM paused; on error it runs on.
func (v *VM) save(ctx context.Context, path string) (err error) {
	// None comes meanwhile.
	v.disks.mu.Lock()
	defer v.disks.mu.Unlock()
	v.nics.mu.Lock()
	defer v.nics.mu.Unlock()
	if n := len(v.disks.luns) + len(v.nics.byName); n > 0 {
		return fmt.Errorf("vm has %d disks and nics: %w", n, errdefs.ErrFailedPrecondition)
	}
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTimeout))
		}
	}()
	host := v.driver.Host
	if err := host.CreateStateFile(path); err != nil {
		return err
	}
	u.Push("remove saved state", func(context.Context) error { return removeFile(path) })
	if err := host.GrantVM(v.id, path); err != nil {
		return err
	}
	u.Push("take back access", func(context.Context) error { return host.RevokeVM(v.id, path) })
	if err := v.system.Pause(ctx); err != nil {
		return err
	}
	u.Push("resume vm", v.system.Resume)
	if err := v.system.Save(ctx, hcs.SaveOptions{SaveType: "ToFile", SaveStateFilePath: path}); err != nil {
		return err
	}
	return host.RevokeVM(v.id, path)
}

// removeFile removes a file; gone is not an error.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Restore makes a VM from what Save wrote of one of the same size and guest. Start lets it
// run on. All VMs may read the file from then on, so that it serves any number of them.
func (d *Driver) Restore(ctx context.Context, c sandbox.VMConfig, path string) (sandbox.VM, error) {
	err := checkFile(path)
	if err == nil {
		err = d.config.Host.GrantGroup(path)
	}
	var v *VM
	if err == nil {
		v, err = d.create(ctx, c, path)
	}
	if err != nil {
		return nil, fmt.Errorf("restore vm %s: %w", c.ID, err)
	}
	return v, nil
}
