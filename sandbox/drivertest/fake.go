package drivertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// FakeMAC is the MAC of every fake NIC.
const FakeMAC = "02:00:00:00:00:01"

// Conn is a connection as both ends of a Dial see it.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Handler is the guest of a fake VM: it serves one connection that was dialled to a port
// and closes it. It runs on a goroutine of its own, which the VM's Stop waits for; ctx
// ends with the VM.
type Handler func(ctx context.Context, vm *FakeVM, port uint32, conn Conn)

// Fake is a driver whose VMs are data. Streams go through the same mux as real ones.
type Fake struct {
	handler Handler // immutable after NewFake

	mu    sync.Mutex // guards the fields below
	vms   map[string]*FakeVM
	calls map[string]int
	fails map[string]map[int]error
}

var _ sandbox.Driver = (*Fake)(nil)

// NewFake returns a driver whose guests are h; nil: guests never answer.
func NewFake(h Handler) *Fake {
	return &Fake{handler: h, vms: make(map[string]*FakeVM), calls: make(map[string]int), fails: make(map[string]map[int]error)}
}

// Fail makes the n-th call of op from now on, counting from 1, return err. Ops are the
// names of the methods of sandbox.Driver and sandbox.VM that return errors.
func (f *Fake) Fail(op string, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails[op] == nil {
		f.fails[op] = make(map[int]error)
	}
	f.fails[op][f.calls[op]+n] = err
}

// Calls tells how often op was called.
func (f *Fake) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// called counts a call and returns the error that it is to fail with.
func (f *Fake) called(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	return f.fails[op][f.calls[op]]
}

// VM returns the VM with this id, or nil.
func (f *Fake) VM(id string) *FakeVM {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.vms[id]
}

// String prints the VMs that have not ended, in the order of their ids, with disks and
// NICs. It is "" when nothing is left.
func (f *Fake) String() string {
	f.mu.Lock()
	vms := make([]*FakeVM, 0, len(f.vms))
	for _, v := range f.vms {
		vms = append(vms, v)
	}
	f.mu.Unlock()
	slices.SortFunc(vms, func(a, b *FakeVM) int { return strings.Compare(a.config.ID, b.config.ID) })
	var b strings.Builder
	for _, v := range vms {
		b.WriteString(v.String())
	}
	return b.String()
}

// Create implements sandbox.Driver.
func (f *Fake) Create(ctx context.Context, c sandbox.VMConfig) (sandbox.VM, error) {
	if err := errors.Join(ctx.Err(), f.called("Create")); err != nil {
		return nil, fmt.Errorf("create vm %s: %w", c.ID, err)
	}
	if c.ID == "" || c.VCPUs < 1 || c.MemoryMiB < 1 {
		return nil, fmt.Errorf("create vm %q: %w", c.ID, errdefs.ErrInvalidArgument)
	}
	for _, p := range []string{c.Kernel, c.Initrd} {
		if _, err := os.Stat(p); p != "" && err != nil {
			return nil, fmt.Errorf("create vm %s: %w: %w", c.ID, errdefs.ErrNotFound, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.vms[c.ID] != nil {
		return nil, fmt.Errorf("create vm %s: %w", c.ID, errdefs.ErrAlreadyExists)
	}
	v := &FakeVM{
		fake: f, config: c, state: "created",
		disks: make(map[uint32]sandbox.Disk), nics: make(map[string]sandbox.NIC),
		up: make(chan struct{}), done: make(chan struct{}),
	}
	f.vms[c.ID] = v
	return v, nil
}

// startGuest makes the guest answer. The lock is held.
func (v *FakeVM) startGuest(ctx context.Context) error {
	link, err := NewLink(func(port uint32, c Conn) { v.fake.handler(ctx, v, port, c) })
	if err != nil {
		return err
	}
	v.link = link
	close(v.up)
	return nil
}
