package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

// fakeGuest simulates an agent: its processes are goroutines that do what the first word
// of their arguments says.
type fakeGuest struct {
	step func(name string) error // fails calls on request

	mu         sync.Mutex
	pods       map[string]bool
	limits     map[string][]byte // by pod
	containers map[string]*fakeProcess
	execs      map[string]*fakeProcess
	streams    map[uint64]net.Conn
	shares     map[uint64]net.Conn
	arrived    chan struct{}
	answer     answers
	stats      func(context.Context) (*api.StatsResponse, error) // nil: of an older build
	frozen     bool
	old        bool            // knows neither seeds nor templates, and does not wait for execs
	calls      []string        // Exec and what follows it, in the order of their beginnings
	hold       chan struct{}   // RemoveExec takes something from it; nil: not
	version    uint32          // of the protocol; 0: the newest that is asked for
	ahead      []uint32        // LUNs of scratch disks that are mounted ahead
	mounted    map[string]bool // by pod: its scratch disk is one
}

// answers are what a hostile agent says in place of the truth.
type answers struct {
	pid    uint32
	code   uint32
	at     int64
	groups int
	unused []string
}

type fakeProcess struct {
	pod                string
	args               []string
	in                 io.Reader
	out, err           net.Conn
	layers             []string
	volumes            []string
	mounts             []*api.Mount
	found              *api.ResolvedUser
	begin, done, sized chan struct{}
	kill               chan int
	width, height      uint32
	first              string // the size that it began with
	exit               *api.Exit
}

func newFakeGuest(step func(string) error) *fakeGuest {
	return &fakeGuest{
		step: step, pods: map[string]bool{}, mounted: map[string]bool{}, limits: map[string][]byte{}, containers: map[string]*fakeProcess{}, execs: map[string]*fakeProcess{},
		streams: map[uint64]net.Conn{}, shares: map[uint64]net.Conn{}, arrived: make(chan struct{}),
	}
}

func (g *fakeGuest) park(id uint64, c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams[id] = c
	close(g.arrived)
	g.arrived = make(chan struct{})
}

func (g *fakeGuest) stream(ctx context.Context, id uint64) (net.Conn, error) {
	if id == 0 {
		return nil, nil
	}
	for {
		g.mu.Lock()
		c, arrived := g.streams[id], g.arrived
		delete(g.streams, id)
		g.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (g *fakeGuest) process(ctx context.Context, args []string, s *api.Stdio) (*fakeProcess, error) {
	p := &fakeProcess{args: args, first: fmt.Sprintf("%dx%d", s.GetWidth(), s.GetHeight()), begin: make(chan struct{}), done: make(chan struct{}), sized: make(chan struct{}, 10), kill: make(chan int, 10)}
	in, err := g.stream(ctx, s.GetStdin())
	if err != nil {
		return nil, err
	}
	p.in = strings.NewReader("")
	if in != nil {
		p.in = in
	}
	if p.out, err = g.stream(ctx, s.GetStdout()); err != nil {
		return nil, err
	}
	p.err, err = g.stream(ctx, s.GetStderr())
	return p, err
}

func (g *fakeGuest) run(p *fakeProcess) {
	code := make(chan int, 1)
	go func() {
		<-p.begin
		code <- p.work()
	}()
	var c int
	select {
	case c = <-code:
	case sig := <-p.kill:
		c = 128 + sig
	}
	for _, s := range []net.Conn{p.out, p.err} {
		if s != nil {
			s.Close()
		}
	}
	g.mu.Lock()
	p.exit = &api.Exit{Code: uint32(c) + g.answer.code, ExitedUnixNanos: time.Now().UnixNano() + g.answer.at}
	g.mu.Unlock()
	close(p.done)
}

func (p *fakeProcess) work() int {
	switch p.args[0] {
	case "cat":
		io.Copy(p.out, p.in)
	case "echo":
		fmt.Fprintln(p.out, p.args[1])
		if p.err != nil {
			fmt.Fprintln(p.err, "err "+p.args[1])
		}
	case "exit":
		n, _ := strconv.Atoi(p.args[1])
		return n
	case "spew":
		p.in.Read(make([]byte, 1)) // with a stdin it waits to be told
		n, _ := strconv.Atoi(p.args[1])
		line := []byte(strings.Repeat("x", 99) + "\n")
		for ; n > 0; n -= len(line) {
			if _, err := p.out.Write(line); err != nil {
				return 1
			}
		}
	case "size":
		<-p.sized
		fmt.Fprintf(p.out, "%dx%d\n", p.width, p.height)
	case "first-size":
		fmt.Fprintln(p.out, p.first)
	case "sleep":
		select {}
	default:
		return 127
	}
	return 0
}

func (g *fakeGuest) Hello(_ context.Context, r *api.HelloRequest) (*api.HelloResponse, error) {
	resp := &api.HelloResponse{Version: r.GetMaxVersion(), AgentVersion: "fake\x1b[31m", KernelRelease: "6.1", Seeded: len(r.GetSeed()) > 0}
	if !r.GetTemplate() {
		resp.BootId = "a-boot"
	}
	if g.version > 0 {
		resp.Version = g.version
	}
	if g.old {
		resp.Version, resp.Seeded, resp.BootId = 1, false, "a-boot"
	}
	return resp, g.step("hello")
}
func (g *fakeGuest) SetClock(context.Context, *api.SetClockRequest) (*api.SetClockResponse, error) {
	return &api.SetClockResponse{UnixNanos: time.Now().UnixNano()}, nil
}
func (g *fakeGuest) CreatePod(_ context.Context, r *api.CreatePodRequest) (*api.CreatePodResponse, error) {
	if err := g.step("create pod"); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pods[r.GetPodId()] = true
	g.mounted[r.GetPodId()] = r.GetScratchMounted()
	g.limits[r.GetPodId()] = r.GetLimits()
	return &api.CreatePodResponse{}, nil
}
func (g *fakeGuest) MountScratch(_ context.Context, r *api.MountScratchRequest) (*api.MountScratchResponse, error) {
	g.mu.Lock()
	g.ahead = append(g.ahead, r.GetScratch().GetLun())
	g.mu.Unlock()
	return &api.MountScratchResponse{}, g.step("mount scratch")
}
func (g *fakeGuest) RemovePod(_ context.Context, r *api.RemovePodRequest) (*api.RemovePodResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pods, r.GetPodId())
	return &api.RemovePodResponse{}, nil
}
func (g *fakeGuest) CreateContainer(ctx context.Context, r *api.CreateContainerRequest) (*api.CreateContainerResponse, error) {
	if err := g.step("create container"); err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(r.GetSpec(), &spec); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p, err := g.process(ctx, spec.Process.Args, r.GetStdio())
	if err != nil {
		return nil, err
	}
	p.pod, p.layers, p.mounts, p.found = r.GetPodId(), r.GetLayerIds(), r.GetMounts(), r.GetFoundUser()
	for _, m := range p.mounts {
		p.layers = append(p.layers, m.GetImage().GetLayerIds()...)
		if d := m.GetDisk(); d != nil {
			p.volumes = append(p.volumes, d.GetVolumeId())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.containers[r.GetContainerId()] = p
	go g.run(p)
	return &api.CreateContainerResponse{Pid: 10 + g.answer.pid, User: &api.ResolvedUser{Uid: 7, Gid: 8, AdditionalGids: make([]uint32, g.answer.groups)}}, nil
}
func (g *fakeGuest) find(container, exec string) (*fakeProcess, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.containers[container]
	if exec != "" {
		p = g.execs[exec]
	}
	if p == nil {
		return nil, status.Error(codes.NotFound, "no such process\x07")
	}
	return p, nil
}
func (g *fakeGuest) StartContainer(_ context.Context, r *api.StartContainerRequest) (*api.StartContainerResponse, error) {
	if err := g.step("start container"); err != nil {
		return nil, err
	}
	p, err := g.find(r.GetContainerId(), "")
	if err != nil {
		return nil, err
	}
	close(p.begin)
	return &api.StartContainerResponse{StartedUnixNanos: time.Now().UnixNano()}, nil
}

// awaitNoExecs waits until all execs were removed, which calls of Exec do not wait for.
func (g *fakeGuest) awaitNoExecs() {
	for left := 1; left > 0; runtime.Gosched() {
		g.mu.Lock()
		left = len(g.execs)
		g.mu.Unlock()
	}
}

func (g *fakeGuest) note(call string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, call)
}
func (g *fakeGuest) Exec(ctx context.Context, r *api.ExecRequest) (*api.ExecResponse, error) {
	g.note("Exec")
	if err := g.step("exec"); err != nil {
		return nil, err
	}
	p, err := g.process(ctx, r.GetArgs(), r.GetStdio())
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.execs[r.GetExecId()] = p
	close(p.begin)
	go g.run(p)
	wait := r.GetWait() && !g.old
	g.mu.Unlock()
	resp := &api.ExecResponse{Pid: 20}
	if !wait {
		return resp, nil
	}
	select {
	case <-p.done:
		resp.Exit = p.exit
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (g *fakeGuest) Wait(ctx context.Context, r *api.WaitRequest) (*api.WaitResponse, error) {
	g.note("Wait")
	p, err := g.find(r.GetContainerId(), r.GetExecId())
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return &api.WaitResponse{Exit: p.exit}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (g *fakeGuest) Signal(_ context.Context, r *api.SignalRequest) (*api.SignalResponse, error) {
	p, err := g.find(r.GetContainerId(), r.GetExecId())
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return nil, status.Error(codes.FailedPrecondition, "process has exited")
	default:
		p.kill <- int(r.GetSignal())
	}
	return &api.SignalResponse{}, nil
}
func (g *fakeGuest) ResizeTTY(_ context.Context, r *api.ResizeTTYRequest) (*api.ResizeTTYResponse, error) {
	p, err := g.find(r.GetContainerId(), r.GetExecId())
	if err != nil {
		return nil, err
	}
	p.width, p.height = r.GetWidth(), r.GetHeight()
	p.sized <- struct{}{}
	return &api.ResizeTTYResponse{}, nil
}
func (g *fakeGuest) RemoveExec(_ context.Context, r *api.RemoveExecRequest) (*api.RemoveExecResponse, error) {
	g.note("RemoveExec")
	if g.hold != nil {
		<-g.hold
	}
	if err := g.step("remove exec"); err != nil {
		return nil, err
	}
	g.mu.Lock()
	p := g.execs[r.GetExecId()]
	delete(g.execs, r.GetExecId())
	g.mu.Unlock()
	if p != nil {
		p.kill <- 9
		<-p.done
	}
	return &api.RemoveExecResponse{}, nil
}
func (g *fakeGuest) RemoveContainer(_ context.Context, r *api.RemoveContainerRequest) (*api.RemoveContainerResponse, error) {
	if err := g.step("remove container"); err != nil {
		return nil, err
	}
	g.mu.Lock()
	p := g.containers[r.GetContainerId()]
	delete(g.containers, r.GetContainerId())
	unused := append([]string{}, g.answer.unused...)
	var unusedVolumes []string
	if p != nil {
		for _, l := range p.layers {
			used := false
			for _, other := range g.containers {
				for _, m := range other.layers {
					used = used || m == l
				}
			}
			if !used {
				unused = append(unused, l)
			}
		}
		for _, v := range p.volumes {
			used := false
			for _, other := range g.containers {
				used = used || slices.Contains(other.volumes, v)
			}
			if !used {
				unusedVolumes = append(unusedVolumes, v)
			}
		}
	}
	g.mu.Unlock()
	if p != nil {
		p.kill <- 9
		<-p.done
	}
	return &api.RemoveContainerResponse{UnusedLayers: unused, UnusedVolumes: unusedVolumes}, nil
}
func (g *fakeGuest) UpdateContainer(context.Context, *api.UpdateContainerRequest) (*api.UpdateContainerResponse, error) {
	return &api.UpdateContainerResponse{}, g.step("update container")
}
func (g *fakeGuest) Stats(ctx context.Context, _ *api.StatsRequest) (*api.StatsResponse, error) {
	if g.stats == nil {
		return nil, status.Error(codes.Unimplemented, "method Stats")
	}
	return g.stats(ctx)
}
func (g *fakeGuest) Events(context.Context, *api.EventsRequest, api.Guest_EventsServer) error {
	return errdefs.ErrNotImplemented
}

func (g *fakeGuest) FreezePod(_ context.Context, r *api.FreezePodRequest) (*api.FreezePodResponse, error) {
	name := "freeze"
	if r.GetThaw() {
		name = "thaw"
	}
	if err := g.step(name); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = !r.GetThaw()
	return &api.FreezePodResponse{}, nil
}

// RenewPod gives the containers, which are made anew here, their new streams.
func (g *fakeGuest) RenewPod(ctx context.Context, r *api.RenewPodRequest) (*api.RenewPodResponse, error) {
	if err := g.step("renew"); err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.pods[r.GetPodId()] = true
	g.mu.Unlock()
	for _, c := range r.GetContainers() {
		p, err := g.process(ctx, []string{"echo", "goes on"}, c.GetStdio())
		if err != nil {
			return nil, err
		}
		p.pod, p.layers = r.GetPodId(), []string{"sha256:a", "sha256:b"}
		g.mu.Lock()
		g.containers[c.GetContainerId()] = p
		g.mu.Unlock()
		go g.run(p)
	}
	return &api.RenewPodResponse{}, nil
}

func (g *fakeGuest) AttachShare(ctx context.Context, r *api.AttachShareRequest) (*api.AttachShareResponse, error) {
	c, err := g.stream(ctx, r.GetShareId())
	if err != nil {
		return nil, err
	}
	if err := g.step("attach share"); err != nil {
		c.Close()
		return nil, err
	}
	// A mount is made when the server has answered.
	if _, err := c.Write([]byte("hello")); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shares[r.GetShareId()] = c
	return &api.AttachShareResponse{}, nil
}

func (g *fakeGuest) DetachShare(_ context.Context, r *api.DetachShareRequest) (*api.DetachShareResponse, error) {
	if err := g.step("detach share"); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.shares[r.GetShareId()]; c != nil {
		c.Close()
		delete(g.shares, r.GetShareId())
	}
	return &api.DetachShareResponse{}, nil
}
