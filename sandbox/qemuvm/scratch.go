package qemuvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/memfile"
	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

var _ sandbox.ScratchTaker = (*VM)(nil)

// scratchLUN is where a template's disk is: the first that it is given.
const scratchLUN = 0

// waiting is the disk that a clone has because its template had it, until it is taken. Till
// then there is nothing behind it: its guest has it mounted, and neither reads nor writes.
type waiting struct {
	mu    sync.Mutex
	bytes int64    // its size; 0: there is none
	file  *os.File // what the template's held; nil: it cannot be taken (any more)
}

// nullNode is the id in QEMU of what is behind a disk that waits.
const nullNode = "null0"

// checkWaiting looks at a size that a file of ours tells.
func checkWaiting(bytes int64) error {
	if bytes < 0 || bytes%sector != 0 {
		return fmt.Errorf("scratch disk of a template with %d bytes: %w", bytes, errdefs.ErrInvalidArgument)
	}
	return nil
}

// plugWaiting gives a new QEMU the disk that the saved VM had waiting.
func (v *VM) plugWaiting(ctx context.Context, client *qmp.Client) error {
	v.waiting.mu.Lock()
	bytes := v.waiting.bytes
	v.waiting.mu.Unlock()
	if bytes == 0 {
		return nil
	}
	n := namesOf(scratchLUN)
	results := client.Do(ctx,
		qmp.Command{Name: "blockdev-add", Args: map[string]any{
			"driver": "null-co", "node-name": nullNode, "size": bytes, "read-zeroes": true,
		}},
		qmp.Command{Name: "blockdev-add", Args: dataNode(n, nullNode, bytes, false)},
		addDevice(n, scratchLUN),
	)
	for _, r := range results {
		if r.Err != nil {
			return fmt.Errorf("plug scratch disk: %w", r.Err)
		}
	}
	if !v.disks.put(sandbox.DiskAddress{LUN: scratchLUN}, sandbox.Disk{}) {
		return fmt.Errorf("plug scratch disk: lun %d is in use: %w", scratchLUN, errdefs.ErrInvalidArgument)
	}
	_, err := v.disks.take(scratchLUN) // busy: it is nobody's to detach
	return err
}

// TakeScratch implements sandbox.ScratchTaker.
func (v *VM) TakeScratch(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	if err := v.takeScratch(ctx, d); err != nil {
		return sandbox.DiskAddress{}, fmt.Errorf("take scratch disk %s: %w", d.Path, err)
	}
	return sandbox.DiskAddress{LUN: scratchLUN}, nil
}

func (v *VM) takeScratch(ctx context.Context, d sandbox.Disk) error {
	client, err := v.client()
	if err != nil {
		return err
	}
	v.still.RLock()
	defer v.still.RUnlock()
	w := &v.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil || d.ReadOnly || d.Format != sandbox.DiskRaw {
		return fmt.Errorf("none waits: %w", errdefs.ErrNotFound)
	}
	f, size, err := prepareDisk(d)
	if err != nil {
		return err
	}
	defer f.Close() // QEMU has its own copy
	if size != w.bytes {
		return fmt.Errorf("one of %d bytes waits, not of %d: %w", w.bytes, size, errdefs.ErrNotFound)
	}
	content := w.file
	w.file = nil
	defer content.Close()
	if err := refill(f, content); err != nil {
		return err
	}
	if err := v.swapIn(ctx, client, f, size); err != nil {
		return v.orGone(err)
	}
	w.bytes = 0
	v.disks.taken(scratchLUN, d)
	return nil
}

// refill gives a disk's file the content of another of its size. After an error, such as that of
// a full disk, it is blank: half of a file system is worse than none.
func refill(f, content *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		err = sparsefile.Copy(f, content)
	}
	if err != nil {
		return errors.Join(err, f.Truncate(0), f.Truncate(size))
	}
	return nil
}

// swapIn puts a file behind the disk that waits.
func (v *VM) swapIn(ctx context.Context, client *qmp.Client, f *os.File, size int64) error {
	n := namesOf(scratchLUN)
	results := client.Do(ctx,
		qmp.Command{Name: "add-fd", Args: map[string]any{"fdset-id": n.fdset}, File: f},
		qmp.Command{Name: "blockdev-add", Args: fileNode(n, false)},
		qmp.Command{Name: "blockdev-reopen", Args: map[string]any{"options": []any{dataNode(n, n.file, size, false)}}},
	)
	for _, r := range results {
		if r.Err == nil {
			continue
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		// Which of them are there does not matter: the names are used by no other disk.
		client.Do(undo,
			qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": n.file}},
			qmp.Command{Name: "remove-fd", Args: map[string]any{"fdset-id": n.fdset}},
		)
		return r.Err
	}
	if r := client.Do(ctx, qmp.Command{Name: "blockdev-del", Args: map[string]any{"node-name": nullNode}}); r[0].Err != nil {
		v.driver.Log.Debug("node of a disk that waited is left", "vm", v.config.ID, "error", r[0].Err)
	}
	return nil
}

// dropWaiting closes what a disk that nobody took is to hold.
func (v *VM) dropWaiting() error {
	v.waiting.mu.Lock()
	defer v.waiting.mu.Unlock()
	if v.waiting.file == nil {
		return nil
	}
	err := v.waiting.file.Close()
	v.waiting.file = nil
	return err
}

// setWaiting has the VM wait with a copy of a template's disk.
func (v *VM) setWaiting(scratch *os.File) error {
	if scratch == nil {
		return nil
	}
	st, err := scratch.Stat()
	if err == nil {
		err = checkWaiting(st.Size())
	}
	if err != nil {
		return err
	}
	v.waiting.bytes = st.Size()
	v.waiting.file, err = memfile.Dup(scratch)
	return err
}

// taken notes whose a disk is that waited.
func (d *disks) taken(lun uint32, from sandbox.Disk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.luns[lun].from, d.luns[lun].busy = from, false
}

// errTooMany says that a template has disks that its clones would not have.
var errTooMany = errors.New("a template has one disk at most, which is its first")

// checkTemplate looks that the disks of a VM that is saved as a template are what its clones get.
func (d *disks) checkTemplate() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for lun := range d.luns {
		if lun != scratchLUN {
			return fmt.Errorf("%w: %w", errTooMany, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}
