package shim

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/sandbox"
)

// fakeVM is a driver and its one VM: disks and NICs as data, and a fake agent.
type fakeVM struct {
	guest *fakeGuest
	mute  bool   // the agent never answers
	waits bool   // a scratch disk of a template does, at LUN 7
	files string // where its disks are, for what is saved

	mu     sync.Mutex
	fail   string // the step to fail
	steps  []string
	disks  map[uint32]string
	nics   []string
	state  string
	err    error
	done   chan struct{}
	path   string
	listen net.Listener
	conns  []net.Conn
	wg     sync.WaitGroup
}

func newFakeVM() *fakeVM {
	v := &fakeVM{disks: map[uint32]string{}, done: make(chan struct{}), state: "none"}
	v.guest = newFakeGuest(func(name string) error {
		if err := v.step(name); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		return nil
	})
	return v
}

func (v *fakeVM) step(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(v.steps, name) {
		v.steps = append(v.steps, name)
	}
	if v.fail == name {
		return fmt.Errorf("%s is made to fail: %w", name, errdefs.ErrInternal)
	}
	return nil
}

// String prints what the VM and its guest hold.
func (v *fakeVM) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.guest.mu.Lock()
	defer v.guest.mu.Unlock()
	var disks []string
	for _, d := range v.disks {
		disks = append(disks, d)
	}
	slices.Sort(disks)
	text := fmt.Sprintf("%s disks=%v nics=%v pods=%d containers=%d execs=%d",
		v.state, disks, v.nics, len(v.guest.pods), len(v.guest.containers), len(v.guest.execs))
	if n := len(v.guest.shares); n > 0 {
		text += fmt.Sprintf(" shares=%d", n)
	}
	return text
}

func (v *fakeVM) Create(_ context.Context, c sandbox.VMConfig) (sandbox.VM, error) {
	if err := v.step("create vm"); err != nil {
		return nil, err
	}
	v.path = filepath.Join(c.Dir, "v")
	v.setState("created")
	return v, nil
}

func (v *fakeVM) setFail(step string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fail = step
}

func (v *fakeVM) setState(s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state = s
}

func (v *fakeVM) Start(context.Context) error {
	if err := v.step("start vm"); err != nil {
		return err
	}
	l, err := net.Listen("unix", v.path)
	if err != nil {
		return err
	}
	v.listen = l
	v.setState("running")
	rpc, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	api.RegisterGuestService(rpc, v.guest)
	control := &chanListener{ch: make(chan net.Conn), done: v.done}
	v.wg.Go(func() { rpc.Serve(context.Background(), control) })
	v.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			v.mu.Lock()
			v.conns = append(v.conns, c)
			v.mu.Unlock()
			go v.serve(c, control)
		}
	})
	return nil
}

func (v *fakeVM) serve(c net.Conn, control *chanListener) {
	port, err := api.ReadPort(c)
	if err != nil || v.mute {
		return
	}
	switch port {
	case api.PortControl:
		select {
		case control.ch <- c:
		case <-v.done:
		}
	case api.PortShare:
		if id, err := api.ReadShareHeader(c); err == nil {
			v.guest.park(id, c)
		}
	case api.PortStdio:
		if id, err := api.ReadStdioHeader(c); err == nil {
			v.guest.park(id, c)
		}
	case api.PortForward:
		_, port, err := api.ReadForwardHeader(c)
		if err != nil {
			return
		}
		if port != 80 {
			api.WriteForwardReply(c, "connection\nrefused")
			return
		}
		api.WriteForwardReply(c, "")
		b, _ := io.ReadAll(c) // answers at the half-close
		fmt.Fprintf(c, "got %s", b)
		c.Close()
	}
}

func (v *fakeVM) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	select {
	case <-v.done:
		return nil, fmt.Errorf("vm has ended: %w", errdefs.ErrUnavailable)
	default:
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", v.path)
	if err != nil {
		return nil, err
	}
	return c, api.WritePort(c, port)
}

func (v *fakeVM) AttachDisk(_ context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	name := filepath.Base(d.Path)
	if link, err := os.Readlink(d.Path); err == nil { // by an open file
		name = filepath.Base(link)
	}
	if err := v.step("attach " + name); err != nil {
		return sandbox.DiskAddress{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for lun := uint32(0); ; lun++ {
		if _, ok := v.disks[lun]; !ok {
			v.disks[lun] = name
			return sandbox.DiskAddress{LUN: lun}, nil
		}
	}
}

func (v *fakeVM) TakeScratch(_ context.Context, d sandbox.Disk) (sandbox.DiskAddress, error) {
	if !v.waits || d.Path == "/d/larger" {
		return sandbox.DiskAddress{}, fmt.Errorf("none waits: %w", errdefs.ErrNotFound)
	}
	v.waits = false
	if err := v.step("take scratch"); err != nil {
		return sandbox.DiskAddress{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.disks[7] = filepath.Base(d.Path) + " (taken)"
	return sandbox.DiskAddress{LUN: 7}, nil
}

func (v *fakeVM) DetachDisk(_ context.Context, a sandbox.DiskAddress) error {
	if err := v.step("detach disk"); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.disks, a.LUN)
	return nil
}

func (v *fakeVM) AttachNIC(_ context.Context, n sandbox.NIC) (sandbox.NICInfo, error) {
	if err := v.step("attach nic"); err != nil {
		return sandbox.NICInfo{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nics = append(v.nics, n.Name)
	return sandbox.NICInfo{MAC: "02:00:00:00:00:01"}, nil
}

func (v *fakeVM) DetachNIC(_ context.Context, name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nics = slices.DeleteFunc(v.nics, func(n string) bool { return n == name })
	return nil
}

// crash ends the VM as a panic of its kernel would.
func (v *fakeVM) crash(text string) {
	v.end(fmt.Errorf("the VM ended: %s: %w", text, errdefs.ErrUnavailable))
}

func (v *fakeVM) end(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.done: // whatever the state says: it may have been started while it crashed
		return
	default:
	}
	v.state, v.err = "ended", err
	if v.listen != nil {
		v.listen.Close()
	}
	for _, c := range v.conns {
		c.Close()
	}
	close(v.done)
}

func (v *fakeVM) Stop(context.Context) error {
	v.end(nil)
	v.wg.Wait()
	return nil
}

func (v *fakeVM) Done() <-chan struct{} { return v.done }

func (v *fakeVM) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

func (v *fakeVM) Console() []byte {
	return []byte("booting\r\n\x1b[31mKernel panic" + strings.Repeat(" ", 3))
}

// chanListener accepts the connections that are sent to it.
type chanListener struct {
	ch   chan net.Conn
	done chan struct{}
}

func (l *chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *chanListener) Close() error   { return nil }
func (l *chanListener) Addr() net.Addr { return &net.UnixAddr{} }
