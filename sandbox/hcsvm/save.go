package hcsvm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/undo"
	"github.com/porthole-run/porthole/sandbox"
)

var (
	_ sandbox.Saver    = (*VM)(nil)
	_ sandbox.Restorer = (*Driver)(nil)
)

// saved is what a VM is made from that was saved; the zero value: it boots.
type saved struct {
	path  string
	disks []sandbox.SavedDisk
}

// saveFormat is raised when what an earlier build saved is not for this one's VMs.
const saveFormat = 1

// SaveFacts implements sandbox.Restorer. Hyper-V checks by itself that the host's processor
// can do what a state was saved with.
func (d *Driver) SaveFacts(context.Context) (string, error) {
	m := machine{commandLine: d.config.CommandLine, ports: d.config.Ports}
	b, err := json.Marshal(m.document())
	if err != nil {
		return "", fmt.Errorf("encode document: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", saveFormat, b))
	return fmt.Sprintf("Hyper-V, %s, document %x", hostBuild(), sum[:6]), nil
}

// SaveTo implements sandbox.Saver. The name of the file ends in .vmrs. NICs are not kept: a
// VM that is restored gets others. A call to HCS is not given up, so that it returns later
// than ctx ends if need be.
func (v *VM) SaveTo(ctx context.Context, path string, still func(context.Context) error) (sandbox.SavedVM, error) {
	var out sandbox.SavedVM
	err := v.change(context.WithoutCancel(ctx), func(context.Context) (err error) {
		out, err = v.save(ctx, path, still)
		return err
	}, nil)
	if err != nil {
		return sandbox.SavedVM{}, fmt.Errorf("save vm %s: %w", v.config.ID, err)
	}
	return out, nil
}

// save lets the VM run on, also on error, with which there is no file.
func (v *VM) save(ctx context.Context, path string, still func(context.Context) error) (out sandbox.SavedVM, err error) {
	if out.Facts, err = (&Driver{config: v.driver}).SaveFacts(ctx); err != nil {
		return out, err
	}
	// None comes or goes meanwhile.
	v.disks.mu.Lock()
	defer v.disks.mu.Unlock()
	v.nics.mu.Lock()
	defer v.nics.mu.Unlock()
	for a, k := range v.disks.luns {
		if k.busy {
			return out, fmt.Errorf("disk %d:%d is being changed: %w", a.Controller, a.LUN, errdefs.ErrFailedPrecondition)
		}
		out.Disks = append(out.Disks, sandbox.SavedDisk{Address: a, Disk: k.from})
	}
	slices.SortFunc(out.Disks, func(a, b sandbox.SavedDisk) int {
		return cmp.Or(cmp.Compare(a.Address.Controller, b.Address.Controller), cmp.Compare(a.Address.LUN, b.Address.LUN))
	})
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return out, errors.Join(err, fmt.Errorf("%s: %w", path, errdefs.ErrAlreadyExists))
	}
	return out, v.saveState(ctx, path, still)
}

func (v *VM) saveState(ctx context.Context, path string, still func(context.Context) error) (err error) {
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTimeout))
		}
	}()
	host, calls := v.driver.Host, context.WithoutCancel(ctx)
	if err := host.CreateStateFile(path); err != nil {
		return err
	}
	u.Push("remove saved state", func(context.Context) error { return removeFile(path) })
	if err := host.GrantVM(v.id, path); err != nil {
		return err
	}
	u.Push("take back access", func(context.Context) error { return host.RevokeVM(v.id, path) })
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := v.system.Pause(calls); err != nil {
		return err
	}
	err = v.system.Save(calls, hcs.SaveOptions{SaveType: "ToFile", SaveStateFilePath: path})
	if err == nil {
		err = still(ctx)
	}
	if rerr := v.system.Resume(calls); rerr != nil {
		// One that stands still for ever must not look as if it ran.
		return errors.Join(err, fmt.Errorf("vm does not go on after it was saved: %w", rerr), v.system.Terminate(calls))
	}
	if err != nil {
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

// Restore implements sandbox.Restorer. All VMs may read the file from then on, so that it
// serves any number of them.
func (d *Driver) Restore(ctx context.Context, c sandbox.VMConfig, s sandbox.SavedVM, path string) (sandbox.VM, error) {
	v, err := d.restore(ctx, c, s, path)
	if err != nil {
		return nil, fmt.Errorf("restore vm %s: %w", c.ID, err)
	}
	return v, nil
}

func (d *Driver) restore(ctx context.Context, c sandbox.VMConfig, s sandbox.SavedVM, path string) (*VM, error) {
	facts, err := d.SaveFacts(ctx)
	if err == nil {
		err = s.Fits(facts)
	}
	if err != nil {
		return nil, err
	}
	if err := checkFile(path); err != nil {
		return nil, err
	}
	seen := map[sandbox.DiskAddress]bool{}
	for _, disk := range s.Disks {
		a := disk.Address
		if int(a.Controller) >= len(api.SCSIControllers) || a.LUN >= lunsPerController || seen[a] {
			return nil, fmt.Errorf("disk at %d:%d: %w", a.Controller, a.LUN, errdefs.ErrInvalidArgument)
		}
		seen[a] = true
		if err := checkDisk(disk.Disk); err != nil {
			return nil, fmt.Errorf("disk %s: %w", disk.Disk.Path, err)
		}
	}
	if err := d.config.Host.GrantGroup(path); err != nil {
		return nil, err
	}
	return d.create(ctx, c, saved{path: path, disks: s.Disks})
}

// adopt gives a VM that is to be restored access to its disks, before it is made. Nobody
// else has the VM yet.
func (v *VM) adopt(disks []sandbox.SavedDisk, u *undo.Stack) error {
	for _, d := range disks {
		k := &disk{from: d.Disk}
		u.Push("take back access to a disk", func(context.Context) error { return v.revoke(k) })
		if err := v.grant(d.Disk, k); err != nil {
			return fmt.Errorf("disk %s: %w", d.Disk.Path, err)
		}
		v.disks.luns[d.Address] = k
		v.disks.next = max(v.disks.next, d.Address.Controller*lunsPerController+d.Address.LUN+1)
	}
	return nil
}
