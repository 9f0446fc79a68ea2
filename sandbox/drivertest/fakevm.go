package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// FakeVM is a VM that is data.
type FakeVM struct {
	fake   *Fake            // immutable
	config sandbox.VMConfig // immutable
	up     chan struct{}    // closed when the guest answers; link is set before
	done   chan struct{}

	mu      sync.Mutex // guards the fields below
	state   string     // created, running, ended
	disks   map[uint32]sandbox.Disk
	nics    map[string]sandbox.NIC
	counted int64
	console []byte
	err     error
	link    *Link
	cancel  context.CancelFunc
}

var _ sandbox.VM = (*FakeVM)(nil)

// Start implements sandbox.VM.
func (v *FakeVM) Start(ctx context.Context) error {
	if err := errors.Join(ctx.Err(), v.fake.called("Start")); err != nil {
		v.end(nil)
		return fmt.Errorf("start vm %s: %w", v.config.ID, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state != "created" {
		return fmt.Errorf("start vm %s: vm is %s: %w", v.config.ID, v.state, errdefs.ErrFailedPrecondition)
	}
	v.state = "running"
	ctx, v.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if v.fake.handler == nil {
		return nil
	}
	return v.startGuest(ctx)
}

// Dial implements sandbox.VM.
func (v *FakeVM) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	c, err := v.dial(ctx, port)
	if err != nil {
		return nil, fmt.Errorf("dial port %d of vm %s: %w", port, v.config.ID, err)
	}
	return c, nil
}

func (v *FakeVM) dial(ctx context.Context, port uint32) (net.Conn, error) {
	if err := v.fake.called("Dial"); err != nil {
		return nil, err
	}
	v.mu.Lock()
	state := v.state
	v.mu.Unlock()
	if state == "created" {
		return nil, fmt.Errorf("vm is created: %w", errdefs.ErrFailedPrecondition)
	}
	select {
	case <-v.done:
		return nil, v.gone()
	default:
	}
	select {
	case <-v.up:
	case <-v.done:
		return nil, v.gone()
	case <-ctx.Done():
		return nil, fmt.Errorf("agent does not answer: %w\nconsole: %s", ctx.Err(), v.Console())
	}
	c, err := v.link.Dial(ctx, port)
	if err != nil && errdefs.IsUnavailable(err) {
		<-v.done
		return nil, v.gone()
	}
	return c, err
}

// AttachDisk implements sandbox.VM. The file must be there, as for a real VM.
func (v *FakeVM) AttachDisk(ctx context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	if err := v.begin(ctx, "AttachDisk"); err != nil {
		return sandbox.DiskAddress{}, fmt.Errorf("attach disk %s: %w", d.Path, err)
	}
	if _, err := os.Stat(d.Path); err != nil {
		return sandbox.DiskAddress{}, fmt.Errorf("attach disk %s: %w: %w", d.Path, errdefs.ErrNotFound, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	lun := uint32(0)
	for ; ; lun++ {
		if _, used := v.disks[lun]; !used {
			break
		}
	}
	v.disks[lun] = d
	return sandbox.DiskAddress{LUN: lun}, nil
}

// DetachDisk implements sandbox.VM.
func (v *FakeVM) DetachDisk(ctx context.Context, a sandbox.DiskAddress) error {
	if err := v.begin(ctx, "DetachDisk"); err != nil {
		return fmt.Errorf("detach disk %d:%d: %w", a.Controller, a.LUN, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if a.Controller == 0 {
		delete(v.disks, a.LUN)
	}
	return nil
}

// AttachNIC implements sandbox.VM. A fake VM takes as many as it was made for, as the QEMU
// driver's do.
func (v *FakeVM) AttachNIC(ctx context.Context, n sandbox.NIC) (sandbox.NICInfo, error) {
	if err := v.begin(ctx, "AttachNIC"); err != nil {
		return sandbox.NICInfo{}, fmt.Errorf("attach nic %s: %w", n.Name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.nics[n.Name]; ok {
		return sandbox.NICInfo{}, fmt.Errorf("attach nic %s: %w", n.Name, errdefs.ErrAlreadyExists)
	}
	if len(v.nics) >= max(v.config.NICs, 1) {
		return sandbox.NICInfo{}, fmt.Errorf("attach nic %s: %w", n.Name, errdefs.ErrResourceExhausted)
	}
	v.nics[n.Name] = n
	return sandbox.NICInfo{MAC: FakeMAC}, nil
}

// DetachNIC implements sandbox.VM.
func (v *FakeVM) DetachNIC(ctx context.Context, name string) error {
	if err := v.begin(ctx, "DetachNIC"); err != nil {
		return fmt.Errorf("detach nic %s: %w", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.nics, name)
	return nil
}

// Stop implements sandbox.VM. A Stop that was made to fail leaves the VM as it was.
func (v *FakeVM) Stop(ctx context.Context) error {
	if err := v.fake.called("Stop"); err != nil {
		return fmt.Errorf("stop vm %s: %w", v.config.ID, err)
	}
	v.end(nil)
	select {
	case <-v.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop vm %s: %w", v.config.ID, ctx.Err())
	}
}

// Kill ends the VM as a guest that dies does; cause becomes part of Err. It may be
// called by the guest's handler.
func (v *FakeVM) Kill(cause error) {
	v.end(fmt.Errorf("vm ended: %w: %w\nconsole: %s", errdefs.ErrUnavailable, cause, v.Console()))
}

// Print writes to the console as the guest.
func (v *FakeVM) Print(s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.console = append(v.console, s...)
}

// MAC is that of the VM's NIC.
func (v *FakeVM) MAC() string { return FakeMAC }

// Disk returns the disk at a LUN as it was attached.
func (v *FakeVM) Disk(lun uint32) (sandbox.Disk, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	d, ok := v.disks[lun]
	return d, ok
}

// Done implements sandbox.VM.
func (v *FakeVM) Done() <-chan struct{} { return v.done }

// Err implements sandbox.VM.
func (v *FakeVM) Err() error {
	select {
	case <-v.done:
	default:
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// Console implements sandbox.VM.
func (v *FakeVM) Console() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.console)
}

// String prints the VM, a line for it and each disk and NIC.
func (v *FakeVM) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "vm %s %s\n", v.config.ID, v.state)
	for _, lun := range slices.Sorted(maps.Keys(v.disks)) {
		d, mode := v.disks[lun], "rw"
		if d.ReadOnly {
			mode = "ro"
		}
		fmt.Fprintf(&b, "  disk 0:%d %s %s\n", lun, mode, d.Path)
	}
	for _, name := range slices.Sorted(maps.Keys(v.nics)) {
		n := v.nics[name]
		fmt.Fprintf(&b, "  nic %s to %s in %s\n", name, n.Interface, n.Namespace)
	}
	return b.String()
}

// begin checks that a call on a running VM may go on.
func (v *FakeVM) begin(ctx context.Context, op string) error {
	if err := errors.Join(ctx.Err(), v.fake.called(op)); err != nil {
		return err
	}
	v.mu.Lock()
	state := v.state
	v.mu.Unlock()
	switch state {
	case "running":
		return nil
	case "ended":
		return v.gone()
	}
	return fmt.Errorf("vm is %s: %w", state, errdefs.ErrFailedPrecondition)
}

func (v *FakeVM) gone() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	return fmt.Errorf("vm was stopped: %w", errdefs.ErrUnavailable)
}

// end ends the VM once; the guest's goroutines are waited for before done closes.
func (v *FakeVM) end(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state == "ended" {
		return
	}
	v.state, v.err = "ended", err
	if v.cancel != nil {
		v.cancel()
	}
	link := v.link
	go func() { // Kill may run on one of the goroutines that are waited for
		if link != nil {
			link.Close()
		}
		v.fake.mu.Lock()
		delete(v.fake.vms, v.config.ID)
		v.fake.mu.Unlock()
		close(v.done)
	}()
}
