package qemuvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

// maxDisks bounds the LUNs: Linux asks a SCSI target for up to 512.
const maxDisks = 255

// disks are the hot-added disks of a VM by LUN.
type disks struct {
	mu   sync.Mutex // guards the rest
	luns map[uint32]*disk
	next uint32 // the LUN to try first
}

// disk is one LUN in use.
type disk struct {
	busy    bool          // being attached or detached
	from    sandbox.Disk  // what it is
	deleted chan struct{} // closed when QEMU has let go of the device
}

// reserve takes a free LUN, and goes round before it takes one again. A guest's kernel is told
// that a disk has gone by its LUN alone, and may get to it late: it would then drop the disk
// that is there by now, though that is mounted already.
func (d *disks) reserve(from sandbox.Disk) (uint32, *disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.luns == nil {
		d.luns = make(map[uint32]*disk)
	}
	for i := range uint32(maxDisks) {
		lun := (d.next + i) % maxDisks
		if d.luns[lun] == nil {
			d.next = lun + 1
			d.luns[lun] = &disk{busy: true, from: from, deleted: make(chan struct{})}
			return lun, d.luns[lun], nil
		}
	}
	return 0, nil, fmt.Errorf("vm has %d disks: %w", maxDisks, errdefs.ErrResourceExhausted)
}

// take marks a disk busy for its detaching; nil when the LUN holds none.
func (d *disks) take(lun uint32) (*disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.luns[lun]
	if k == nil {
		return nil, nil
	}
	if k.busy {
		return nil, fmt.Errorf("disk at lun %d is being changed: %w", lun, errdefs.ErrFailedPrecondition)
	}
	k.busy = true
	return k, nil
}

// settle ends what reserve or take began.
func (d *disks) settle(lun uint32, there bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if there {
		d.luns[lun].busy = false
		return
	}
	delete(d.luns, lun)
}

// deleted takes QEMU's word that a device is gone.
func (d *disks) deleted(device string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for lun, k := range d.luns {
		if device != namesOf(lun).device {
			continue
		}
		select {
		case <-k.deleted:
		default:
			close(k.deleted)
		}
	}
}

// names are the ids in QEMU of all that a disk is made of.
type names struct {
	fdset              int
	file, data, device string
}

func namesOf(lun uint32) names {
	return names{
		fdset:  int(lun) + 1,
		file:   fmt.Sprintf("file%d", lun),
		data:   fmt.Sprintf("data%d", lun),
		device: fmt.Sprintf("disk%d", lun),
	}
}

// AttachDisk implements sandbox.VM.
func (v *VM) AttachDisk(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	a, err := v.attachDisk(ctx, d)
	if err != nil {
		return sandbox.DiskAddress{}, fmt.Errorf("attach disk %s: %w", d.Path, err)
	}
	return a, nil
}

func (v *VM) attachDisk(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	client, err := v.client()
	if err != nil {
		return sandbox.DiskAddress{}, err
	}
	f, size, err := prepareDisk(d)
	if err != nil {
		return sandbox.DiskAddress{}, err
	}
	defer f.Close() // QEMU has its own copy

	v.still.RLock()
	defer v.still.RUnlock()
	lun, _, err := v.disks.reserve(d)
	if err != nil {
		return sandbox.DiskAddress{}, err
	}
	if err := attach(ctx, client, namesOf(lun), lun, f, size, d.ReadOnly); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		uerr := v.unplug(undo, client, lun)
		// A LUN of which something is left is not used again.
		if uerr == nil {
			v.disks.settle(lun, false)
		}
		return sandbox.DiskAddress{}, v.orGone(errors.Join(err, uerr))
	}
	v.disks.settle(lun, true)
	return sandbox.DiskAddress{LUN: lun}, nil
}

// attach builds a disk in QEMU, all steps in one go.
func attach(ctx context.Context, client *qmp.Client, n names, lun uint32, f *os.File, size int64, readOnly bool) error {
	results := client.Do(ctx,
		qmp.Command{Name: "add-fd", Args: map[string]any{"fdset-id": n.fdset}, File: f},
		qmp.Command{Name: "blockdev-add", Args: fileNode(n, readOnly)},
		qmp.Command{Name: "blockdev-add", Args: dataNode(n, n.file, size, readOnly)},
		addDevice(n, lun),
	)
	for _, r := range results {
		if r.Err != nil {
			return r.Err // those that follow it failed because of it
		}
	}
	return nil
}

// fileNode is the host's file of a disk.
func fileNode(n names, readOnly bool) map[string]any {
	return map[string]any{
		"driver":    "file",
		"node-name": n.file,
		"filename":  fmt.Sprintf("/dev/fdset/%d", n.fdset),
		"read-only": readOnly,
		"aio":       "threads",
		"discard":   discard(readOnly),
		// The host's page cache is shared by all VMs that read one layer.
		"cache": map[string]any{"direct": false, "no-flush": false},
	}
}

// dataNode is what the guest sees of the node of a file.
func dataNode(n names, file string, size int64, readOnly bool) map[string]any {
	return map[string]any{
		"driver":    "raw",
		"node-name": n.data,
		"file":      file,
		"offset":    0,
		"size":      size,
		"read-only": readOnly,
		"discard":   discard(readOnly),
	}
}

func discard(readOnly bool) string {
	if readOnly {
		return "ignore"
	}
	return "unmap"
}

func addDevice(n names, lun uint32) qmp.Command {
	return qmp.Command{Name: "device_add", Args: map[string]any{
		"driver":  "scsi-hd",
		"id":      n.device,
		"bus":     "scsi0.0",
		"drive":   n.data,
		"scsi-id": 0,
		"lun":     lun,
		// A write that the host has no room for fails, as elsewhere. By default QEMU stops
		// the VM then, with all that is in it, and nothing lets it go on.
		"werror": "report",
	}}
}

// DetachDisk implements sandbox.VM.
func (v *VM) DetachDisk(ctx context.Context, a sandbox.DiskAddress) error {
	if err := v.detachDisk(ctx, a); err != nil {
		return fmt.Errorf("detach disk %d:%d: %w", a.Controller, a.LUN, err)
	}
	return nil
}

func (v *VM) detachDisk(ctx context.Context, a sandbox.DiskAddress) error {
	if a.Controller != 0 {
		return nil
	}
	client, err := v.client()
	if err != nil {
		return err
	}
	v.still.RLock()
	defer v.still.RUnlock()
	k, err := v.disks.take(a.LUN)
	if k == nil || err != nil {
		return err
	}
	err = v.unplug(ctx, client, a.LUN)
	v.disks.settle(a.LUN, err != nil)
	return v.orGone(err)
}

// unplug takes apart what is there of a disk. It may be called again after it failed.
func (v *VM) unplug(ctx context.Context, client *qmp.Client, lun uint32) error {
	n := namesOf(lun)
	v.disks.mu.Lock()
	deleted := v.disks.luns[lun].deleted
	v.disks.mu.Unlock()

	_, err := client.Run(ctx, "device_del", map[string]any{"id": n.device})
	switch {
	case err == nil:
		select {
		case <-deleted:
		case <-client.Done():
			return client.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for device: %w", ctx.Err())
		}
	case !refused(err):
		return err
	}
	// Each may be missing when attaching failed half way; that all three are gone is
	// what counts, and QEMU refuses to free what is in use.
	results := client.Do(ctx,
		qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": n.data}},
		qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": n.file}},
		qmp.Command{Name: "remove-fd", Args: map[string]any{"fdset-id": n.fdset}},
		qmp.Command{Name: "query-named-block-nodes", Args: map[string]any{"flat": true}},
	)
	last := results[len(results)-1]
	if last.Err != nil {
		return last.Err
	}
	for i, name := range []string{n.data, n.file} {
		if bytes.Contains(last.Value, []byte(`"`+name+`"`)) {
			return fmt.Errorf("block node %s stays: %w", name, results[i].Err)
		}
	}
	return nil
}

// orGone prefers the VM's own end over what that did to a call.
func (v *VM) orGone(err error) error {
	if err == nil || !errdefs.IsUnavailable(err) {
		return err
	}
	<-v.done // the management connection ends with QEMU, which is killed if it does not end
	return v.goneError()
}

// refused tells whether QEMU ran a command and said no.
func refused(err error) bool {
	var e *qmp.Error
	return errors.As(err, &e)
}

// The footer of a VHD.
const (
	vhdFooter    = 512
	vhdCookie    = "conectix"
	vhdTypeAt    = 60
	vhdTypeFixed = 2
	sector       = 512
)

// prepareDisk opens a disk's file and returns the size that the guest is to see.
func prepareDisk(d sandbox.Disk) (*os.File, int64, error) {
	if d.Format != sandbox.DiskVHD && d.Format != sandbox.DiskRaw {
		return nil, 0, fmt.Errorf("disk format %d: %w", d.Format, errdefs.ErrNotImplemented)
	}
	f, size, err := openDisk(d.Path, d.ReadOnly)
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
		case errors.Is(err, fs.ErrPermission):
			err = fmt.Errorf("%w: %w", errdefs.ErrPermissionDenied, err)
		case errors.Is(err, errNotDisk):
			err = fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
		}
		return nil, 0, err
	}
	if d.Format == sandbox.DiskVHD {
		size, err = vhdSize(f, size)
	}
	if err == nil && (size <= 0 || size%sector != 0) {
		err = fmt.Errorf("size %d is not in whole sectors: %w", size, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// vhdSize checks that a file is a fixed VHD and returns the size of its data. QEMU's own
// VHD driver is not used: it takes the size from the footer's geometry, which is zero in
// the images that tar2ext4 makes.
func vhdSize(f *os.File, size int64) (int64, error) {
	var footer [vhdFooter]byte
	if size < vhdFooter {
		return 0, fmt.Errorf("vhd of %d bytes: %w", size, errdefs.ErrInvalidArgument)
	}
	if _, err := f.ReadAt(footer[:], size-vhdFooter); err != nil {
		return 0, fmt.Errorf("read vhd footer: %w", err)
	}
	if string(footer[:len(vhdCookie)]) != vhdCookie {
		return 0, fmt.Errorf("no vhd footer: %w", errdefs.ErrInvalidArgument)
	}
	if t := binary.BigEndian.Uint32(footer[vhdTypeAt:]); t != vhdTypeFixed {
		return 0, fmt.Errorf("vhd of type %d, not fixed: %w", t, errdefs.ErrInvalidArgument)
	}
	return size - vhdFooter, nil
}
