package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clog "github.com/containerd/log"
	"github.com/containerd/ttrpc"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/internal/hvsock"
	"github.com/porthole-run/porthole/network"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/network/hcnnet/hnsfake"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/hcsvm"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs"
	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
)

func TestMain(m *testing.M) {
	clog.L.Logger.SetOutput(io.Discard) // ttrpc's lines on connections that end with their VMs
	os.Exit(m.Run())
}

// world is a Windows host of fakes. Its knobs are set before a run.
type world struct {
	svc  *hcsfake.Service
	host *hcs.Host
	hns  *hnsfake.HNS
	net  string // id of the HNS network
	dir  string
	vols map[string]*ntfake.Volume // by folder

	mute      bool   // guests do not listen
	silent    bool   // the console's pipe is not opened
	openTable bool   // the socket table is not looked at
	dialErr   error  // of each dial, in place of trying again
	blind     bool   // guests do not find disks
	calm      bool   // guests without init do not panic
	keep      uint64 // bytes of memory that do not come back
	noVMs     func() // what a restart of vmcompute does besides
	hook      func(ntfake.Call) ntapi.Status
	doors     *doors

	mu     sync.Mutex // guards what follows
	guests map[string]*agent
	pipes  map[string]*pipe
	memory uint64
}

const initrdBytes = 8 << 20

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		svc: hcsfake.New(), hns: hnsfake.New(), dir: t.TempDir(), vols: map[string]*ntfake.Volume{}, doors: &doors{pipes: map[string]*doorPipe{}, remote: fs.ErrPermission},
		guests: map[string]*agent{}, pipes: map[string]*pipe{},
	}
	w.host = hcs.New(w.svc)
	w.svc.OnStart(w.runGuest)
	for name, size := range map[string]int64{"vmlinux": 4096, "initrd": initrdBytes} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(w.dir, name), size); err != nil {
			t.Fatal(err)
		}
	}
	w.network(t, "L2Bridge")
	return w
}

func (w *world) network(t *testing.T, kind string) {
	t.Helper()
	var err error
	w.net, err = w.hns.CreateNetwork(`{"Name":"` + kind + `","Type":"` + kind + `","Ipams":[{"Subnets":[{"IpAddressPrefix":"10.1.0.0/16","Routes":[{"NextHop":"10.1.0.1","DestinationPrefix":"0.0.0.0/0"}]}]}],"SchemaVersion":{"Major":2,"Minor":0}}`)
	if err != nil {
		t.Fatal(err)
	}
}

// lab is the world as a run gets it.
func (w *world) lab() Lab {
	return Lab{
		Version: "1.2.3", Dir: w.dir, Host: w.host, HNS: w.hns, Network: w, Scratch: files{},
		Kernel: filepath.Join(w.dir, "vmlinux"), Initrd: filepath.Join(w.dir, "initrd"),
		Driver: func(o DriverOptions) (Driver, error) {
			return hcsvm.New(hcsvm.Config{
				Host: w.host, CommandLine: "quiet " + o.CommandLine, Ports: o.Ports, Dial: w.dial, ListenPipe: w.listen,
				Endpoint: func(ctx context.Context, namespace, id string) (hcsvm.Endpoint, error) {
					mac, err := hcnnet.LookUp(ctx, w.hns, namespace, id)
					return hcsvm.Endpoint{ID: id, MAC: mac}, err
				},
			})
		},
		Layer: func(path string) error { return os.WriteFile(path, make([]byte, 1024), 0o600) },
		Memory: func() (uint64, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.memory, nil
		},
		Share:   w.share,
		Edge:    w.doors,
		Restart: w.restart,
		Times:   Times{Boot: 2 * time.Second, Settle: 300 * time.Millisecond, Refuse: 200 * time.Millisecond, Notice: time.Second},
	}
}

func (w *world) share(dir string) (share.Backend, error) {
	w.mu.Lock()
	v := w.vols[dir]
	if v == nil {
		v = ntfake.New(ntfake.Config{})
		w.vols[dir] = v
		if w.hook != nil {
			v.SetHook(w.hook)
		}
	}
	w.mu.Unlock()
	return ntfs.New(v.Root(), ntfs.Options{DirMode: 0o777})
}

func (w *world) restart(_ context.Context, service string) error {
	switch service {
	case "hns":
		w.hns.Restart()
	case "vmcompute":
		w.svc.Restart(false)
	default:
		return fmt.Errorf("no service %s", service)
	}
	if w.noVMs != nil {
		w.noVMs()
	}
	return nil
}

// left is what should not be there when a run has ended.
func (w *world) left() string {
	w.svc.Settle()
	out := w.svc.String() + strings.Join(w.svc.Misuse(), "\n")
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.pipes {
		out += "pipe " + p + "\n"
	}
	for dir, v := range w.vols {
		if n := v.Handles(); n != 0 {
			out += fmt.Sprintf("%d handles of %s\n", n, filepath.Base(dir))
		}
	}
	entries, _ := os.ReadDir(w.dir)
	for _, e := range entries {
		if e.Name() != "vmlinux" && e.Name() != "initrd" {
			out += "file " + e.Name() + "\n"
		}
	}
	return out
}

// files makes scratch disks of nothing.
type files struct{}

func (files) Create(_ context.Context, path string, _ int64) (sandbox.Disk, error) {
	return sandbox.Disk{Path: path + ".vhdx", Format: sandbox.DiskVHDX}, os.WriteFile(path+".vhdx", []byte("x"), 0o600)
}

func (files) Remove(_ context.Context, path string) error {
	return errors.Join(os.RemoveAll(path + ".vhdx"))
}

func (files) Usage(context.Context, string) (uint64, error) { return 0, nil }

// Attach implements Network: what a plugin on HNS does.
func (w *world) Attach(_ context.Context, p network.Pod) (network.Result, error) {
	ns, err := w.hns.CreateNamespace(p.ID[:8] + "-0000-4000-8000-" + p.ID[20:32])
	if err != nil {
		return network.Result{}, err
	}
	n, err := w.hns.Network(w.net)
	if err != nil {
		return network.Result{}, err
	}
	policies := `[]`
	if n.Name == "Overlay" {
		policies = `[{"Type":"EncapOverhead","Settings":{"Overhead":50}}]`
	}
	e, err := w.hns.CreateEndpoint(w.net, `{"Name":"`+p.ID+`_eth0","HostComputeNetwork":"`+w.net+`","IpConfigurations":[{"IpAddress":"10.1.0.7"}],"Policies":`+policies+`,"SchemaVersion":{"Major":2,"Minor":0}}`)
	if err != nil {
		return network.Result{}, err
	}
	return network.Result{
		Namespace: ns, IPs: []string{"10.1.0.7"},
		NICs: []network.NIC{{Name: "eth0", Interface: e.ID, MTU: 1500, MAC: "00:15:5d:00:00:01", Addresses: []string{"10.1.0.7/16"}}},
	}, w.hns.AddEndpoint(ns, e.ID)
}

// Detach implements Network.
func (w *world) Detach(_ context.Context, podID string) error {
	all, err := w.hns.Endpoints()
	if err != nil {
		return err
	}
	for _, e := range all {
		if strings.HasPrefix(e.Name, podID) {
			if e.Namespace != "" {
				err = errors.Join(w.hns.RemoveEndpoint(e.Namespace, e.ID), w.hns.DeleteNamespace(e.Namespace))
			}
			return errors.Join(err, w.hns.DeleteEndpoint(e.ID))
		}
	}
	return nil
}

// agent is a guest: the calls of the agent that checks make.
type agent struct {
	api.GuestService
	w  *world
	vm *hcsfake.VM
}

func (a *agent) Hello(context.Context, *api.HelloRequest) (*api.HelloResponse, error) {
	return &api.HelloResponse{Version: api.MaxVersion, AgentVersion: "1.2.3", KernelRelease: "6.1.0", MemoryBytes: vmMemory << 20, Seeded: true}, nil
}

func (a *agent) SetClock(context.Context, *api.SetClockRequest) (*api.SetClockResponse, error) {
	return &api.SetClockResponse{UnixNanos: time.Now().UnixNano()}, nil
}

func (a *agent) CreatePod(_ context.Context, r *api.CreatePodRequest) (*api.CreatePodResponse, error) {
	d := r.GetScratch()
	if _, _, ok := a.vm.Disk(api.SCSIControllers[d.GetController()], fmt.Sprint(d.GetLun())); !ok || a.w.blind {
		return nil, errors.New("the disk does not appear")
	}
	for _, i := range r.GetInterfaces() {
		want := strings.ToUpper(strings.ReplaceAll(i.GetBootMac(), ":", "-"))
		if macs := a.vm.MACs(); len(macs) != 1 || macs[0] != want {
			return nil, fmt.Errorf("no NIC has %s: %v", want, macs)
		}
	}
	if n := len(r.GetInterfaces()); n > 0 {
		all, err := a.w.hns.Endpoints()
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			a.w.hns.Count(e.ID, hcnnet.Stats{PacketsSent: 3})
		}
	}
	return &api.CreatePodResponse{}, nil
}

func (a *agent) RemovePod(context.Context, *api.RemovePodRequest) (*api.RemovePodResponse, error) {
	return &api.RemovePodResponse{}, nil
}

// runGuest boots a guest: it takes memory, gives some back, and listens.
func (w *world) runGuest(vm *hcsfake.VM) {
	console := w.open(vm.Pipe("0"))
	defer console.Close()
	_, _ = io.WriteString(console, "Linux version 6.1.0\n")
	if strings.Contains(vm.KernelArgs(), "rdinit=") {
		if w.calm {
			<-vm.Ended()
			return
		}
		_, _ = io.WriteString(console, "Kernel panic - not syncing: no init\n")
		vm.Crash("Kernel panic - not syncing: no init")
		return
	}
	const touched = 3 * initrdBytes
	w.take(touched)
	time.Sleep(3 * sampleEvery / 2) // a sample is of this
	w.take(-initrdBytes + int64(w.keep))
	w.mu.Lock()
	if !w.mute {
		w.guests[vm.ID()] = &agent{w: w, vm: vm}
	}
	w.mu.Unlock()
	<-vm.Ended()
	w.take(-touched + initrdBytes - int64(w.keep))
	w.mu.Lock()
	delete(w.guests, vm.ID())
	w.mu.Unlock()
}

func (w *world) take(n int64) {
	w.mu.Lock()
	w.memory = uint64(int64(w.memory) + n)
	w.mu.Unlock()
}

type plainConn struct{ net.Conn }

func (c plainConn) CloseWrite() error { return c.Close() }

// one is a listener of one connection.
type one struct {
	conn chan net.Conn
	done chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return &net.UnixAddr{Name: "guest"} }

func (w *world) dial(_ context.Context, vmID string, port uint32) (hvsock.Conn, error) {
	if w.dialErr != nil {
		return nil, w.dialErr
	}
	w.mu.Lock()
	a := w.guests[vmID]
	w.mu.Unlock()
	if a == nil || !w.openTable && !a.vm.Connectable(hvsock.ServiceID(port)) {
		return nil, hvsock.ErrRefused
	}
	host, guest := net.Pipe()
	if port != api.PortControl {
		return plainConn{host}, guest.Close()
	}
	srv, err := ttrpc.NewServer()
	if err != nil {
		return nil, err
	}
	api.RegisterGuestService(srv, a)
	l := &one{conn: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conn <- guest
	go func() { _ = srv.Serve(context.Background(), l) }()
	go func() { // a VM that has ended answers no more
		<-a.vm.Ended()
		close(l.done)
		_ = srv.Close()
	}()
	return plainConn{host}, nil
}

// pipe is a named pipe's listener.
type pipe struct {
	w     *world
	path  string
	conns chan net.Conn
	done  chan struct{}
}

func (w *world) listen(path, _ string) (net.Listener, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &pipe{w: w, path: path, conns: make(chan net.Conn), done: make(chan struct{})}
	w.pipes[path] = p
	return p, nil
}

// open is the worker's end of a pipe.
func (w *world) open(path string) net.Conn {
	w.mu.Lock()
	p := w.pipes[path]
	w.mu.Unlock()
	host, guest := net.Pipe()
	if p == nil || w.silent {
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
	if p.w.pipes[p.path] == p {
		delete(p.w.pipes, p.path)
		close(p.done)
	}
	return nil
}

func (p *pipe) Addr() net.Addr { return nil }

// refuse is a volume that answers a call with a status.
func refuse(op string, s ntapi.Status) func(ntfake.Call) ntapi.Status {
	return func(c ntfake.Call) ntapi.Status {
		if c.Op == op {
			return s
		}
		return ntapi.StatusSuccess
	}
}

var (
	noEAs   = refuse("SetEAs", ntapi.StatusEAsNotSupported)
	noFlush = refuse("Flush", ntapi.StatusAccessDenied)
)

// deaf is a backend that is told of nothing.
type deaf struct{ *ntfs.Backend }

func (deaf) Events() <-chan share.Event { return nil }
