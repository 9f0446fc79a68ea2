//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"github.com/hashicorp/yamux"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/crun"
	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/agent/transport"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/usage"
)

var errInjected = errors.New("injected")

// machine stands in for the kernel and crun. It holds what is mounted and made as data;
// processes are real ones that do nothing.
type machine struct {
	t      *testing.T
	reaper *reap.Reaper

	mu     sync.Mutex // guards the rest
	things map[string]bool
	calls  int
	failAt int // the call that fails; 0: none
	procs  map[string]*reap.Process
	output string // what a new process writes to stdout

	// hold, unless nil, makes an exec tell that it is being made, and wait to be told to go on.
	hold chan struct{}

	drawn  string   // what was asked of the random pool, in order
	limits []string // that groups were given, in order

	made []podns.Options // namespaces, in order
}

func (m *machine) seed(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drawn += fmt.Sprintf("seed %d, ", len(b))
	return nil
}

func (m *machine) bootID() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drawn += "boot id, "
	return "this-boot", nil
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, reaper: reap.New(), things: map[string]bool{}, procs: map[string]*reap.Process{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { m.reaper.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return m
}

// String shows what is there, in order.
func (m *machine) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Sorted(maps.Keys(m.things))
	for name, p := range m.procs {
		select {
		case <-p.Done():
		default:
			out = append(out, "process "+name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// step counts a call that may be made to fail, and adds a thing when it does not.
func (m *machine) step(thing string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls++; m.calls == m.failAt {
		return fmt.Errorf("call %d, %s: %w", m.calls, thing, errInjected)
	}
	if thing != "" {
		m.things[thing] = true
	}
	return nil
}

func (m *machine) drop(thing string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.things, thing)
}

func (m *machine) MountLayer(_ context.Context, a disk.Address, target string) error {
	if err := m.step("mount " + target); err != nil {
		return err
	}
	return os.MkdirAll(target, 0o755)
}
func (m *machine) MountScratch(ctx context.Context, a disk.Address, target string) error {
	return m.MountLayer(ctx, a, target)
}
func (m *machine) MountScratchAhead(ctx context.Context, a disk.Address, target string) error {
	return m.MountLayer(ctx, a, target)
}
func (m *machine) Move(source, target string) error {
	if err := m.step(""); err != nil {
		return err
	}
	m.mu.Lock()
	was := m.things["mount "+source]
	m.mu.Unlock()
	if !was {
		return fmt.Errorf("nothing is mounted at %s", source)
	}
	m.drop("mount " + source)
	return errors.Join(m.step("mount "+target), os.MkdirAll(target, 0o755), os.Remove(source))
}
func (m *machine) MountShm(target string, _ uint64) error {
	return m.MountLayer(context.Background(), disk.Address{}, target)
}
func (m *machine) MountOverlay(target string, layers []string, upper, work string) error {
	return m.MountLayer(context.Background(), disk.Address{}, target)
}
func (m *machine) Unmount(_ context.Context, target string) error {
	m.drop("mount " + target)
	return os.RemoveAll(target)
}
func (m *machine) MapIDs(source, target, users string) error {
	return m.MountLayer(context.Background(), disk.Address{}, target)
}
func (m *machine) Eject(disk.Address) error { return nil }
func (m *machine) MountVolume(ctx context.Context, a disk.Address, target string, _ disk.VolumeOptions) error {
	return m.MountLayer(ctx, a, target)
}
func (m *machine) MountStack(target string, _ []string) error {
	return m.MountLayer(context.Background(), disk.Address{}, target)
}
func (m *machine) Bind(_, sub, target string) error {
	return m.MountLayer(context.Background(), disk.Address{}, target)
}

func (m *machine) sleeper(out *os.File) (*reap.Process, error) {
	return m.reaper.Start("/bin/sh", []string{"sh", "-c", "printf '%s' '" + m.output + "'; exec sleep 1000"},
		&os.ProcAttr{Files: []*os.File{nil, out, nil}})
}

func (m *machine) Start(o podns.Options) (*reap.Process, error) {
	if err := m.step(""); err != nil {
		return nil, err
	}
	p, err := m.sleeper(nil)
	if err == nil {
		m.mu.Lock()
		m.made = append(m.made, o)
		m.mu.Unlock()
		m.track("pause", p)
	}
	return p, err
}

func (m *machine) Prepare(int) error { return m.step("network") }

// track makes String show a process until it has exited.
func (m *machine) track(name string, p *reap.Process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.procs[name] = p
}

func (m *machine) SetNames(int, string, map[string]string) error { return m.step("") }
func (m *machine) SetNetwork(context.Context, int, []podns.Interface) error {
	return m.step("network")
}
func (m *machine) RenewNetwork(context.Context, int, []podns.Interface) error {
	return m.step("network renewed")
}
func (m *machine) Freeze(_ context.Context, group string) error { return m.step("frozen " + group) }
func (m *machine) Thaw(group string) error {
	m.drop("frozen " + group)
	return nil
}
func (m *machine) ReleaseNetwork(int, []podns.Interface) error { m.drop("network"); return nil }
func (m *machine) Dial(ctx context.Context, _ int, port uint16) (*net.TCPConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (m *machine) Create(group string) error { return m.step("cgroup " + group) }
func (m *machine) Limit(group string, r *specs.LinuxResources) error {
	m.mu.Lock()
	if !m.things["cgroup "+group] {
		m.t.Errorf("Limit of %s, which is not there", group)
	}
	text, _ := json.Marshal(r)
	m.limits = append(m.limits, string(text))
	m.mu.Unlock()
	return m.step("")
}
func (m *machine) Kill(group string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, p := range m.procs {
		if strings.HasPrefix(name, group) {
			p.Signal(unix.SIGKILL)
		}
	}
	return nil
}
func (m *machine) Signal(string, syscall.Signal) error { return nil }
func (m *machine) Remove(_ context.Context, group string) error {
	m.drop("cgroup " + group)
	return nil
}
func (m *machine) Stats(group string) (usage.Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.things["cgroup "+group] && !strings.Contains(group, "/p/") {
		return usage.Group{}, fs.ErrNotExist
	}
	limit := uint64(64)
	return usage.Group{
		At:     time.Unix(7, 0),
		CPU:    &usage.CPU{Usage: time.Second, Pressure: &usage.Pressure{Some: usage.PressureTimes{Avg10: 2, Total: 3}}},
		Memory: &usage.Memory{Usage: 10, Limit: &limit},
		IO:     &usage.IO{Devices: []usage.Device{{Major: 8, Minor: 1, Name: "sda1", Reads: 4}}},
		Tasks:  &usage.Tasks{Processes: 1, Threads: 2},
	}, nil
}
func (m *machine) OpenFiles(string, int) (usage.OpenFiles, bool) {
	return usage.OpenFiles{Files: 3, Sockets: 1}, true
}
func (m *machine) Traffic(int, []string) ([]usage.Interface, error) {
	return []usage.Interface{{Name: "eth0", RxBytes: 5, TxBytes: 6}}, nil
}
func (m *machine) SetProject(dir string, _ uint32) error { return m.step("") }
func (m *machine) Usage(_ string, project uint32) (*usage.Writable, error) {
	return &usage.Writable{At: time.Unix(8, 0), Bytes: 4096, Inodes: uint64(project)}, nil
}
func (m *machine) OOMKills(string) uint64        { return 0 }
func (m *machine) WatchOOM(string, func()) error { return nil }

// fakeRuntime is the machine's crun: its methods' names are taken.
type fakeRuntime struct{ m *machine }

func (r fakeRuntime) Create(_ context.Context, s crun.Spawn) (*reap.Process, *os.File, error) {
	if err := r.m.step(""); err != nil {
		return nil, nil, err
	}
	p, err := r.m.sleeper(s.Files[1])
	if err != nil {
		return nil, nil, err
	}
	r.m.track("/pods/p/"+s.ID+" "+filepath.Base(s.Dir), p)
	return p, nil, nil
}
func (r fakeRuntime) Exec(ctx context.Context, s crun.Spawn) (*reap.Process, *os.File, error) {
	if r.m.hold != nil {
		r.m.hold <- struct{}{}
		<-r.m.hold
	}
	return r.Create(ctx, s)
}

// fakeDevices has /dev/fuse and huge pages of 2 MB.
type fakeDevices struct{ m *machine }

func (d fakeDevices) Find(dev specs.LinuxDevice) error {
	if err := d.m.step(""); err != nil {
		return err
	}
	if dev.Major != 10 || dev.Minor != 229 {
		return fmt.Errorf("the guest has none: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}
func (d fakeDevices) PageSizes() []string             { return []string{"2MB"} }
func (d fakeDevices) AllowPages(string, uint64) error { return d.m.step("") }

func (r fakeRuntime) Start(context.Context, string, string, string) error  { return r.m.step("") }
func (r fakeRuntime) Update(context.Context, string, string, string) error { return r.m.step("") }
func (r fakeRuntime) Delete(context.Context, string) error                 { return nil }

// host serves an agent on the machine over a mux, and is its greeted client.
type host struct {
	api.GuestClient
	t    *testing.T
	mux  *yamux.Session
	dir  string
	last uint64
}

func newHost(t *testing.T, m *machine) *host { return newHostOf(t, m, m) }

// newHostOf is newHost with disks of another kind.
func newHostOf(t *testing.T, m *machine, disks Disks) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir()}
	a := New(Config{Dir: h.dir, Version: "test", Disks: disks, Namespaces: m, Cgroups: m, Runtime: fakeRuntime{m}, Shares: fakeShares{m}, Devices: fakeDevices{m}, SetClock: func(time.Time) error { return nil }, Seed: m.seed, BootID: m.bootID})
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { transport.ServeMux(context.Background(), theirs, a.Serve); close(done) }()
	var err error
	if h.mux, err = yamux.Client(ours, api.MuxConfig()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.mux.Close(); <-done })
	h.GuestClient = api.NewGuestClient(ttrpc.NewClient(h.open(api.PortControl)))
	return h
}

func (h *host) open(port uint32) *yamux.Stream {
	h.t.Helper()
	s, err := h.mux.OpenStream()
	if err == nil {
		err = api.WritePort(s, port)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *host) stream() (uint64, io.ReadWriteCloser) {
	h.t.Helper()
	s := h.open(api.PortStdio)
	h.last++
	if err := api.WriteStdioHeader(s, h.last); err != nil {
		h.t.Fatal(err)
	}
	return h.last, s
}

// files lists what is left in the agent's folder, but for the folders that hold pods.
func (h *host) files() string {
	var out []string
	for _, pattern := range []string{"p/*", "p/*/c/*", "p/*/s/*", "l/*", "scratch"} {
		found, _ := filepath.Glob(filepath.Join(h.dir, pattern))
		out = append(out, found...)
	}
	return strings.Join(out, "\n")
}
