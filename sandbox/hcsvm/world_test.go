package hcsvm

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/internal/hvsock"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

const (
	endpointID  = "0b4f3c57-0d56-4d2c-9b0f-3c2a1de0a001"
	endpointMAC = "00:15:5d:12:34:56"
)

// world is a host: a fake service, pipes and sockets in memory, and guests that answer.
type world struct {
	svc    *hcsfake.Service
	host   *hcs.Host
	driver *Driver
	dir    string

	mu     sync.Mutex // guards the fields below
	mute   bool       // guests do not listen
	plain  bool       // streams are pipes: the mux does not live in a synctest bubble
	guests map[string]*fakeGuest
	pipes  map[string]*pipe
}

// newWorld makes a host whose driver is of c, as far as c says something.
func newWorld(t *testing.T, c Config) *world {
	t.Helper()
	w := &world{svc: hcsfake.New(), dir: t.TempDir(), guests: map[string]*fakeGuest{}, pipes: map[string]*pipe{}}
	for _, f := range []string{"kernel", "initrd"} {
		if err := os.WriteFile(filepath.Join(w.dir, f), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.host = hcs.New(w.svc)
	w.svc.OnStart(w.runGuest)
	c.Host, c.Dial, c.ListenPipe = w.host, w.dial, w.listen
	c.CommandLine = "quiet panic=-1"
	c.Ports = []uint32{wire.Echo, wire.Disk, wire.Link, wire.Crash, wire.Leave, wire.Count}
	var err error
	if w.driver, err = New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

func withNICs() Config { return Config{Endpoint: lookUp} }

func lookUp(_ context.Context, namespace, id string) (Endpoint, error) {
	if id != endpointID {
		return Endpoint{}, fmt.Errorf("endpoint %s of %s: %w", id, namespace, errdefs.ErrNotFound)
	}
	mac, err := net.ParseMAC(endpointMAC)
	return Endpoint{ID: strings.ToUpper(id), MAC: mac}, err
}

func (w *world) config(t *testing.T, id string) sandbox.VMConfig {
	return sandbox.VMConfig{
		ID: id, Dir: t.TempDir(), VCPUs: 2, MemoryMiB: 255,
		Kernel: filepath.Join(w.dir, "kernel"), Initrd: filepath.Join(w.dir, "initrd"),
	}
}

// left is what should not be there when all VMs have ended.
func (w *world) left(t *testing.T) string {
	w.host.Close()
	w.svc.Settle()
	out := w.svc.String()
	for _, m := range w.svc.Misuse() {
		out += "misuse: " + m + "\n"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.pipes {
		out += "pipe " + p + "\n"
	}
	return out
}

// disk makes a fixed VHD.
func (w *world) disk(t *testing.T, name string) sandbox.Disk {
	t.Helper()
	d := sandbox.Disk{Path: filepath.Join(t.TempDir(), name+".vhd"), Format: sandbox.DiskVHD}
	if err := os.WriteFile(d.Path, make([]byte, 1024), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// plainConn is a pipe, which has no half-close.
type plainConn struct{ net.Conn }

func (c plainConn) CloseWrite() error { return c.Close() }

// fakeGuest is the guest of a VM that runs, and its worker's end of the console.
type fakeGuest struct {
	vm      *hcsfake.VM
	link    *drivertest.Link // nil: plain
	console net.Conn

	streams sync.WaitGroup // plain ones
}

var _ drivertest.Machine = (*fakeGuest)(nil)

func (w *world) runGuest(vm *hcsfake.VM) {
	g := &fakeGuest{vm: vm, console: w.open(vm.Pipe("0"))}
	defer g.console.Close()
	if !w.plain {
		var err error
		if g.link, err = drivertest.NewLink(func(port uint32, c drivertest.Conn) { drivertest.ServeSuite(g, port, c) }); err != nil {
			panic(err)
		}
		defer g.link.Close()
	}
	defer g.streams.Wait()
	g.Print("Linux version 6.1\n")
	w.mu.Lock()
	w.guests[vm.ID()] = g
	w.mu.Unlock()
	<-vm.Ended()
	w.mu.Lock()
	delete(w.guests, vm.ID())
	w.mu.Unlock()
}

func (g *fakeGuest) Disk(lun uint32) (sandbox.Disk, bool) {
	path, readOnly, ok := g.vm.Disk(api.SCSIControllers[0], fmt.Sprint(lun))
	return sandbox.Disk{Path: path, ReadOnly: readOnly, Format: sandbox.DiskVHD}, ok
}

func (g *fakeGuest) MAC() string {
	for _, m := range g.vm.MACs() {
		return strings.ToLower(strings.ReplaceAll(m, "-", ":"))
	}
	return ""
}

func (g *fakeGuest) Count() int64 { return g.vm.Count() }

func (g *fakeGuest) Print(text string) { _, _ = g.console.Write([]byte(text)) }

func (g *fakeGuest) Kill(cause error) {
	if strings.Contains(cause.Error(), "panic") {
		g.vm.Crash("sysrq triggered crash")
		return
	}
	g.vm.Exit()
}

func (w *world) guest(id string) *fakeGuest {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mute {
		return nil
	}
	return w.guests[id]
}

func (w *world) dial(ctx context.Context, vmID string, port uint32) (hvsock.Conn, error) {
	g := w.guest(vmID)
	if g == nil {
		return nil, hvsock.ErrRefused
	}
	if !g.vm.Connectable(hvsock.ServiceID(port)) {
		return nil, os.ErrPermission
	}
	if g.link == nil {
		host, guest := net.Pipe()
		g.streams.Go(func() { drivertest.ServeSuite(g, port, plainConn{guest}) })
		return plainConn{host}, nil
	}
	c, err := g.link.Dial(ctx, port)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hvsock.ErrRefused, err)
	}
	return c.(hvsock.Conn), nil
}

// pipe is a named pipe's listener.
type pipe struct {
	w     *world
	path  string
	conns chan net.Conn
	done  chan struct{}
}

func (w *world) listen(path, sddl string) (net.Listener, error) {
	if !strings.Contains(sddl, "S-1-5-83-1-") {
		return nil, fmt.Errorf("worker may not open %s", path)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pipes[path] != nil {
		return nil, fmt.Errorf("pipe %s: %w", path, errdefs.ErrAlreadyExists)
	}
	p := &pipe{w: w, path: path, conns: make(chan net.Conn), done: make(chan struct{})}
	w.pipes[path] = p
	return p, nil
}

func (w *world) open(path string) net.Conn {
	w.mu.Lock()
	p := w.pipes[path]
	w.mu.Unlock()
	host, guest := net.Pipe()
	if p == nil {
		_ = host.Close()
		return guest
	}
	select {
	case p.conns <- host:
	case <-p.done:
		_ = host.Close()
	}
	return guest
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.pipes[p.path] != p {
		return net.ErrClosed
	}
	delete(p.w.pipes, p.path)
	close(p.done)
	return nil
}

func (p *pipe) Addr() net.Addr { return nil }
