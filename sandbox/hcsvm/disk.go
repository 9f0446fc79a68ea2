package hcsvm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/sandbox"
)

// lunsPerController is what Hyper-V's SCSI controller has.
const lunsPerController = 64

// disks are the hot-added disks of a VM.
type disks struct {
	mu   sync.Mutex // guards the rest
	luns map[sandbox.DiskAddress]*disk
	next uint32 // the address to try first, counted through the controllers
}

// disk is one LUN in use.
type disk struct {
	busy    bool         // being attached or detached
	from    sandbox.Disk // what it is
	granted string       // the file to which the VM's worker alone was given access; empty: none
}

// reserve takes a free LUN, and goes round all before it takes one again: a guest that is slow
// to see that a disk has gone must not take the next one for it.
func (d *disks) reserve(from sandbox.Disk) (sandbox.DiskAddress, *disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const all = uint32(len(api.SCSIControllers) * lunsPerController)
	for i := range all {
		n := (d.next + i) % all
		a := sandbox.DiskAddress{Controller: n / lunsPerController, LUN: n % lunsPerController}
		if d.luns[a] == nil {
			k := &disk{busy: true, from: from}
			d.luns[a], d.next = k, n+1
			return a, k, nil
		}
	}
	return sandbox.DiskAddress{}, nil, fmt.Errorf("vm has %d disks: %w", len(d.luns), errdefs.ErrResourceExhausted)
}

// take marks a disk busy for its detaching; nil when the LUN holds none.
func (d *disks) take(a sandbox.DiskAddress) (*disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.luns[a]
	if k == nil {
		return nil, nil
	}
	if k.busy {
		return nil, fmt.Errorf("disk is being changed: %w", errdefs.ErrFailedPrecondition)
	}
	k.busy = true
	return k, nil
}

// settle ends what reserve or take began.
func (d *disks) settle(a sandbox.DiskAddress, there bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if there {
		d.luns[a].busy = false
		return
	}
	delete(d.luns, a)
}

// revokeAll takes back the access to the files of a VM that has ended: entries of VMs
// that are gone would add up on volumes. Unless all is settled, it leaves busy disks to those who have them.
func (d *disks) revokeAll(v *VM, settled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.luns {
		if k.busy && !settled {
			continue
		}
		if err := v.revoke(k); err != nil {
			v.log("access to a disk of an ended VM was not taken back", err)
		}
	}
}

// AttachDisk implements sandbox.VM. Disks are fixed VHDs and VHDX files, and named so:
// HCS goes by the name.
func (v *VM) AttachDisk(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	a, err := v.attachDisk(ctx, d)
	if err != nil {
		return sandbox.DiskAddress{}, fmt.Errorf("attach disk %s: %w", d.Path, err)
	}
	return a, nil
}

func (v *VM) attachDisk(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	var a sandbox.DiskAddress
	err := v.change(ctx, func(ctx context.Context) (err error) {
		if err := checkDisk(d); err != nil {
			return err
		}
		var k *disk
		if a, k, err = v.disks.reserve(d); err != nil {
			return err
		}
		err = v.plug(ctx, d, a, k)
		// A LUN of which something is left is not used again.
		if err == nil || k.granted == "" {
			v.disks.settle(a, err == nil)
		}
		return err
	}, func(ctx context.Context) {
		if err := v.unplug(ctx, a); err != nil {
			v.log("a disk that nobody waits for was not detached", err)
		}
	})
	if err != nil { // a may still be written
		return sandbox.DiskAddress{}, err
	}
	return a, nil
}

// checkDisk makes sure of a file that HCS can attach.
func checkDisk(d sandbox.Disk) error {
	if err := checkFile(d.Path); err != nil {
		return err
	}
	ext, ok := map[sandbox.DiskFormat]string{sandbox.DiskVHD: ".vhd", sandbox.DiskVHDX: ".vhdx"}[d.Format]
	if !ok {
		return fmt.Errorf("disk format %d, which Hyper-V does not attach: %w", d.Format, errdefs.ErrNotImplemented)
	}
	if !strings.EqualFold(filepath.Ext(d.Path), ext) {
		return fmt.Errorf("the file's name does not end in %s, by which Hyper-V knows its format: %w", ext, errdefs.ErrInvalidArgument)
	}
	return nil
}

// grant gives the VM access to a disk's file: to one that is only read all VMs have it.
func (v *VM) grant(d sandbox.Disk, k *disk) error {
	if d.ReadOnly {
		return v.driver.Host.GrantGroup(d.Path)
	}
	if err := v.driver.Host.GrantVM(v.id, d.Path); err != nil {
		return err
	}
	k.granted = d.Path
	return nil
}

func attachment(d sandbox.Disk) hcs.Attachment {
	return hcs.Attachment{Type: hcs.VirtualDisk, Path: d.Path, ReadOnly: d.ReadOnly, SupportCompressedVolumes: true}
}

// plug gives the VM access to a file and attaches it. What an error leaves, k tells.
func (v *VM) plug(ctx context.Context, d sandbox.Disk, a sandbox.DiskAddress, k *disk) error {
	if err := v.grant(d, k); err != nil {
		return err
	}
	err := v.system.Modify(ctx, hcs.ModifyRequest{
		ResourcePath: diskPath(a),
		RequestType:  hcs.RequestAdd,
		Settings:     attachment(d),
	})
	if err != nil {
		return errors.Join(err, v.revoke(k))
	}
	return nil
}

// revoke takes back what plug gave to the VM alone. It may be called again after it failed.
func (v *VM) revoke(k *disk) error {
	if k.granted == "" {
		return nil
	}
	err := v.driver.Host.RevokeVM(v.id, k.granted)
	if err != nil && !hcs.HasCode(err, hcs.FileNotFound) && !hcs.HasCode(err, hcs.PathNotFound) {
		return err
	}
	k.granted = ""
	return nil
}

// DetachDisk implements sandbox.VM.
func (v *VM) DetachDisk(ctx context.Context, a sandbox.DiskAddress) error {
	err := v.change(ctx, func(ctx context.Context) error { return v.unplug(ctx, a) }, nil)
	if err != nil {
		return fmt.Errorf("detach disk %d:%d: %w", a.Controller, a.LUN, err)
	}
	return nil
}

// unplug removes a disk. It may be called again after it failed.
func (v *VM) unplug(ctx context.Context, a sandbox.DiskAddress) error {
	k, err := v.disks.take(a)
	if k == nil || err != nil {
		return err
	}
	err = v.system.Modify(ctx, hcs.ModifyRequest{ResourcePath: diskPath(a), RequestType: hcs.RequestRemove})
	if hcs.HasCode(err, hcs.ElementNotFound) {
		err = nil // an earlier try took it away
	}
	if err == nil {
		err = v.revoke(k)
	}
	v.disks.settle(a, err != nil)
	return err
}
