package qemuvm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/diskfull"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

var (
	_ sandbox.Saver    = (*VM)(nil)
	_ sandbox.Restorer = (*Driver)(nil)
)

// saveFormat is raised when what an earlier build saved is not for this one's VMs, though
// QEMU and its arguments are the same.
const saveFormat = 1

// savedDetail is what a saved state depends on besides the devices that come and go.
type savedDetail struct {
	// Memory is the id of the memory in QEMU; empty: that of a VM that booted.
	Memory string `json:"memory,omitempty"`
	// Balloon: the machine has one.
	Balloon bool `json:"balloon"`
	// Scratch is the size of the disk that the template had mounted, when it waits still.
	Scratch int64 `json:"scratch,omitempty"`
}

// SaveFacts implements sandbox.Restorer.
func (d *Driver) SaveFacts(ctx context.Context) (string, error) {
	version, err := qemuVersion(ctx, d.config.Binary)
	if err != nil {
		return "", err
	}
	m := machine{origin: restored, accel: d.config.Accel}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q", saveFormat, m.args()))
	clock := "an unknown"
	if khz, err := HostTSC(); err == nil { // guests count on it; it is measured at each boot
		clock = fmt.Sprintf("a %.2f GHz", float64(khz)/1e6)
	}
	facts := fmt.Sprintf("%s, %s, arguments %x, %s clock", version, m.accel, sum[:6], clock)
	if m.accel == KVM { // its guests have seen the host's processor
		model, err := hostCPU()
		if err != nil {
			return "", err
		}
		facts += ", " + model
	}
	return facts, nil
}

// hostCPU is the model of the host's processor.
func hostCPU() (string, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	return cpuModel(f), nil
}

// SaveTo implements sandbox.Saver. The streams to the agent go on: of a restored VM they are
// cut.
func (v *VM) SaveTo(ctx context.Context, path string, still func(context.Context) error) (sandbox.SavedVM, error) {
	s, err := v.saveTo(ctx, path, still)
	if err != nil {
		return s, fmt.Errorf("save vm %s: %w", v.config.ID, err)
	}
	return s, nil
}

func (v *VM) saveTo(ctx context.Context, path string, still func(context.Context) error) (s sandbox.SavedVM, err error) {
	if v.source.origin == saved {
		return s, fmt.Errorf("vm is a template: %w", errdefs.ErrFailedPrecondition)
	}
	client, err := v.client()
	if err != nil {
		return s, err
	}
	facts, err := (&Driver{config: v.driver}).SaveFacts(ctx)
	if err != nil {
		return s, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %w", errdefs.ErrAlreadyExists, err)
		}
		return s, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	v.still.Lock()
	defer v.still.Unlock()
	if s, err = v.describe(facts); err != nil {
		return s, err
	}
	if r := client.Do(ctx, qmp.Command{Name: "stop"}); r[0].Err != nil {
		return s, v.orGone(r[0].Err)
	}
	err = v.saveStill(ctx, client, f, still)
	return s, v.orGone(errors.Join(err, v.goOn(ctx, client, err != nil)))
}

// saveStill saves a VM that stands still.
func (v *VM) saveStill(ctx context.Context, client *qmp.Client, f *os.File, still func(context.Context) error) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(f, r)
		_ = r.Close() // QEMU may still write
		copied <- err
	}()
	select {
	case <-v.migrated: // how an earlier one ended
	default:
	}
	err = v.migrate(ctx, client, w, setUpFullMigration, noMigrationLimit, takeState(w), qmp.Command{
		Name: "migrate", Args: map[string]any{"uri": "fd:" + stateFD},
	})
	if err != nil {
		_ = r.Close()
	}
	cerr := <-copied
	switch {
	case err != nil && cerr != nil && ctx.Err() == nil:
		return fmt.Errorf("write state: %w (%w)", noRoom(cerr), err) // why QEMU could not go on
	case err != nil:
		return err
	case cerr != nil:
		return fmt.Errorf("write state: %w", noRoom(cerr))
	}
	return still(ctx)
}

// noRoom gives a full disk its kind, before that of what came of it.
func noRoom(err error) error {
	if diskfull.Is(err) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	}
	return err
}

// goOn lets the VM run again, which a migration that is under way must not be.
func (v *VM) goOn(ctx context.Context, client *qmp.Client, failed bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if failed {
		client.Do(ctx, qmp.Command{Name: "migrate_cancel"}) // no error when there is none
	}
	for {
		r := client.Do(ctx, qmp.Command{Name: "cont"})
		if r[0].Err == nil {
			return nil
		}
		// One that is being cancelled has to end first.
		if !failed || !refused(r[0].Err) || ctx.Err() != nil {
			v.kill(fmt.Errorf("vm does not go on after it was saved: %w", r[0].Err))
			return r[0].Err
		}
		select {
		case <-v.migrated:
		case <-ctx.Done():
		}
	}
}

// describe tells of the VM's devices, none of which comes or goes.
func (v *VM) describe(facts string) (sandbox.SavedVM, error) {
	s := sandbox.SavedVM{Facts: facts}
	v.disks.mu.Lock()
	detail := v.source.detail()
	v.waiting.mu.Lock()
	detail.Scratch = v.waiting.bytes
	v.waiting.mu.Unlock()
	for lun, d := range v.disks.luns {
		if lun == scratchLUN && detail.Scratch > 0 {
			continue
		}
		s.Disks = append(s.Disks, sandbox.SavedDisk{Address: sandbox.DiskAddress{LUN: lun}, Disk: d.from})
	}
	v.disks.mu.Unlock()
	slices.SortFunc(s.Disks, func(a, b sandbox.SavedDisk) int { return cmp.Compare(a.Address.LUN, b.Address.LUN) })
	v.channels.mu.Lock()
	for _, c := range v.channels.open {
		s.Channels = append(s.Channels, sandbox.SavedChannel{Name: c.name, Number: c.number})
	}
	v.channels.mu.Unlock()
	slices.SortFunc(s.Channels, func(a, b sandbox.SavedChannel) int { return cmp.Compare(a.Number, b.Number) })
	var err error
	s.Detail, err = json.Marshal(detail)
	return s, err
}

// detail is of what a VM with this source is saved.
func (s source) detail() savedDetail {
	switch s.origin {
	case booted:
		return savedDetail{Balloon: true}
	case restored:
		return s.restored
	}
	return savedDetail{Memory: memoryID}
}

// Restore implements sandbox.Restorer.
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
	from := source{origin: restored, devices: s}
	if err := json.Unmarshal(s.Detail, &from.restored); err != nil {
		return nil, fmt.Errorf("saved vm's detail: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if m := from.restored.Memory; m != "" && m != memoryID {
		return nil, fmt.Errorf("saved vm's memory is %q: %w", m, errdefs.ErrInvalidArgument)
	}
	if from.file, err = os.Open(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
		}
		return nil, err
	}
	var v *VM
	st, err := from.file.Stat()
	switch {
	case err != nil:
	case st.Size() == 0: // QEMU would wait for more
		err = fmt.Errorf("saved state %s is empty: %w", path, errdefs.ErrDataLoss)
	default:
		if err = checkWaiting(from.restored.Scratch); err != nil {
			break
		}
		if v, err = d.create(ctx, c, from); err == nil {
			v.waiting.bytes = from.restored.Scratch
		}
	}
	if err != nil {
		_ = from.file.Close()
		return nil, err
	}
	return v, nil
}

// plugSaved gives a new QEMU the devices that the saved one had.
func (v *VM) plugSaved(ctx context.Context, client *qmp.Client) error {
	for _, d := range v.source.devices.Disks {
		f, size, err := prepareDisk(d.Disk)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Disk.Path, err)
		}
		err = attach(ctx, client, namesOf(d.Address.LUN), d.Address.LUN, f, size, d.Disk.ReadOnly)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Disk.Path, err)
		}
		if !v.disks.put(d.Address, d.Disk) {
			return fmt.Errorf("disk %s at %v: %w", d.Disk.Path, d.Address, errdefs.ErrInvalidArgument)
		}
	}
	for _, c := range v.source.devices.Channels {
		if c.Number < firstChannel || c.Number >= maxPorts {
			return fmt.Errorf("channel %s has number %d: %w", c.Name, c.Number, errdefs.ErrInvalidArgument)
		}
		if _, err := v.addChannel(ctx, client, c.Name, c.Number); err != nil {
			return fmt.Errorf("channel %s: %w", c.Name, err)
		}
	}
	return nil
}

// put notes a disk at its address.
func (d *disks) put(a sandbox.DiskAddress, from sandbox.Disk) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.luns == nil {
		d.luns = make(map[uint32]*disk)
	}
	if a.Controller != 0 || a.LUN >= maxDisks || d.luns[a.LUN] != nil {
		return false
	}
	d.luns[a.LUN] = &disk{from: from, deleted: make(chan struct{})}
	d.next = max(d.next, a.LUN+1)
	return true
}

// rejoin is reopenMux, given up when QEMU ends or the agent is silent.
func (v *VM) rejoin(ctx context.Context, qemuDone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, v.driver.StartTimeout)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-qemuDone:
			cancel()
		case <-ended:
		}
	}()
	v.mu.Lock()
	client := v.monitor
	v.mu.Unlock()
	return v.reopenMux(ctx, client)
}

// reopenMux joins a restored VM's control port to us, once its agent knows that the session
// in which it was saved is over.
func (v *VM) reopenMux(ctx context.Context, client *qmp.Client) error {
	if err := v.console.Await(ctx, api.HostGone); err != nil {
		return fmt.Errorf("wait for the agent to be alone: %w", err)
	}
	const name = "mux"
	results := client.Do(ctx,
		qmp.Command{Name: "getfd", Args: map[string]any{"fdname": name}, File: v.res.mux.guest},
		qmp.Command{Name: "chardev-change", Args: map[string]any{
			"id": name,
			"backend": map[string]any{"type": "socket", "data": map[string]any{
				"addr":   map[string]any{"type": "fd", "data": map[string]any{"str": name}},
				"server": false,
			}},
		}},
	)
	for _, r := range results {
		if r.Err != nil {
			return fmt.Errorf("open control port: %w", r.Err)
		}
	}
	return v.res.mux.guest.Close()
}

// setUpFullMigration puts memory into the state, and has the end told.
var setUpFullMigration = qmp.Command{Name: "migrate-set-capabilities", Args: map[string]any{
	"capabilities": []map[string]any{
		{"capability": "x-ignore-shared", "state": false},
		{"capability": "events", "state": true},
	},
}}

// noMigrationLimit lets a state go as fast as it can be written: the VM stands still.
var noMigrationLimit = qmp.Command{Name: "migrate-set-parameters", Args: map[string]any{"max-bandwidth": 1 << 40}}
