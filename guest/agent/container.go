//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/withdrawn"
)

// removeTime bounds the wait for a killed process.
const removeTime = 20 * time.Second

// removalTime bounds a whole removal: what does not go by then is an error that the
// host can act on, not a call without an end.
const removalTime = 45 * time.Second

// container is one container of a pod.
type container struct {
	id      string // immutable, as the next five
	pod     *pod
	dir     string // the bundle
	upper   string // folder of the writable layer
	project uint32 // what the file system counts upper as
	layers  []layerRef

	mu            sync.Mutex // held through each call but Wait and Signal; guards the rest
	made          bool       // made and not removed
	spec          *specs.Spec
	sharesPID     bool     // its PID namespace is not its own
	mappedDirs    []string // where layers and images are mounted for it alone, with other owners
	process       *process // immutable once made
	started       int64    // unix nanos; 0: not started
	renewed       bool     // frozen since its VM was saved, and to be thawed to start
	dropped       bool     // the layers were given back
	unused        []string // what dropping them answered
	mounts        mountSet // what its mounts hold
	unusedVolumes []string // what dropping them answered

	// execing is held for reading while an exec is made and for writing while the
	// container is removed; it is taken before mu.
	execing sync.RWMutex
	execsMu sync.Mutex // guards the rest; taken alone or inside mu
	// execs are the processes by exec id; the container's own is "". One that is being
	// made is nil.
	execs map[string]*process
	// making are the execs being made, each closed when its making is over.
	making    map[string]chan struct{}
	withdrawn withdrawn.Set // execs that were removed before they were made
}

func (c *container) cgroup() string { return c.pod.cgroup() + "/" + c.id }
func (c *container) root() string   { return filepath.Join(c.dir, "rootfs") }

// StartContainer implements the service. Starting a running container again answers
// the time of its start.
func (c *control) StartContainer(ctx context.Context, r *api.StartContainerRequest) (*api.StartContainerResponse, error) {
	ct, err := c.container(r.ContainerId)
	if err != nil {
		return nil, err
	}
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if !ct.made {
		return nil, fmt.Errorf("container %q: %w", ct.id, errdefs.ErrNotFound)
	}
	if ct.started == 0 {
		if ct.process.exited() {
			return nil, fmt.Errorf("container %q has exited: %w", ct.id, errdefs.ErrFailedPrecondition)
		}
		now := time.Now().UnixNano()
		if ct.renewed {
			if err := c.cfg.Cgroups.Thaw(ct.cgroup()); err != nil {
				return nil, fmt.Errorf("let container %q go on: %w", ct.id, err)
			}
			ct.renewed, ct.started = false, now
			return &api.StartContainerResponse{StartedUnixNanos: now}, nil
		}
		err := phase.Do(ctx, "crun start", func(ctx context.Context) error {
			return c.cfg.Runtime.Start(ctx, ct.id, ct.dir, ct.spec.Process.Args[0])
		})
		if err != nil {
			return nil, fmt.Errorf("start container %q: %w", ct.id, err)
		}
		ct.started = now
	}
	return &api.StartContainerResponse{StartedUnixNanos: ct.started, Phases: phase.Encode(ctx)}, nil
}

// watch makes a process of p, whose exit is told when it comes.
func (a *Agent) watch(c *container, execID string, p *reap.Process, pio *processIO, sharesPID bool) *process {
	proc := &process{proc: p, io: pio, done: make(chan struct{})}
	kills := a.cfg.Cgroups.OOMKills(c.cgroup())
	go func() { // ends with the process, which RemoveContainer sees to
		<-p.Done()
		e := p.Exit()
		oom := e.Code != 0 && a.cfg.Cgroups.OOMKills(c.cgroup()) > kills
		if execID == "" && sharesPID {
			// In a PID namespace that it shares the kernel does not end the rest for us.
			a.cfg.Cgroups.Kill(c.cgroup())
		}
		pio.endInput()
		proc.exit = &api.Exit{Code: e.Code, ExitedUnixNanos: e.At.UnixNano(), OomKilled: oom}
		close(proc.done)
		a.events.Add(func(seq uint64) *api.Event {
			return &api.Event{Seq: seq, ContainerId: c.id, ExecId: execID, Kind: &api.Event_Exit{Exit: proc.exit}}
		})
	}()
	return proc
}

// processOf finds a process: the container's own when execID is empty.
func (a *Agent) processOf(containerID, execID string) (*container, *process, error) {
	c, err := a.container(containerID)
	if err != nil {
		return nil, nil, err
	}
	if execID != "" {
		if err := checkID("exec_id", execID); err != nil {
			return nil, nil, err
		}
	}
	c.execsMu.Lock()
	defer c.execsMu.Unlock()
	if p := c.execs[execID]; p != nil {
		return c, p, nil
	}
	if execID == "" {
		return nil, nil, fmt.Errorf("container %q is not made yet: %w", containerID, errdefs.ErrNotFound)
	}
	return nil, nil, fmt.Errorf("exec %q of container %q: %w", execID, containerID, errdefs.ErrNotFound)
}

// Wait implements the service. Output may still be on its way: each stream says its own end.
func (c *control) Wait(ctx context.Context, r *api.WaitRequest) (*api.WaitResponse, error) {
	_, p, err := c.processOf(r.ContainerId, r.ExecId)
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

// Signal implements the service.
func (c *control) Signal(_ context.Context, r *api.SignalRequest) (*api.SignalResponse, error) {
	if r.Signal < 1 || r.Signal > 64 {
		return nil, invalid("signal %d is not from 1 to 64", r.Signal)
	}
	ct, p, err := c.processOf(r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	sig := unix.Signal(r.Signal)
	if !r.All {
		return &api.SignalResponse{}, p.proc.Signal(sig)
	}
	if p.exited() && r.ExecId == "" {
		return nil, fmt.Errorf("container %q has exited: %w", ct.id, errdefs.ErrFailedPrecondition)
	}
	return &api.SignalResponse{}, c.cfg.Cgroups.Signal(ct.cgroup(), sig)
}

// ResizeTTY implements the service.
func (c *control) ResizeTTY(_ context.Context, r *api.ResizeTTYRequest) (*api.ResizeTTYResponse, error) {
	if r.Width > 0xffff || r.Height > 0xffff {
		return nil, invalid("window of %dx%d", r.Width, r.Height)
	}
	_, p, err := c.processOf(r.ContainerId, r.ExecId)
	if err != nil {
		return nil, err
	}
	return &api.ResizeTTYResponse{}, p.io.resize(r.Width, r.Height)
}

// UpdateContainer implements the service.
func (c *control) UpdateContainer(ctx context.Context, r *api.UpdateContainerRequest) (*api.UpdateContainerResponse, error) {
	if _, err := parseResources(r.Resources); err != nil {
		return nil, err
	}
	ct, err := c.container(r.ContainerId)
	if err != nil {
		return nil, err
	}
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if !ct.made || ct.process.exited() {
		return nil, fmt.Errorf("container %q does not run: %w", ct.id, errdefs.ErrFailedPrecondition)
	}
	resources, err := c.guestResources(r.Resources)
	if err != nil {
		return nil, fmt.Errorf("update container %q: %w", ct.id, err)
	}
	file := filepath.Join(ct.dir, "resources.json")
	if err := os.WriteFile(file, resources, 0o600); err != nil {
		return nil, fmt.Errorf("update container %q: %w", ct.id, err)
	}
	if err := c.cfg.Runtime.Update(ctx, ct.id, ct.dir, file); err != nil {
		return nil, fmt.Errorf("update container %q: %w", ct.id, err)
	}
	return &api.UpdateContainerResponse{}, nil
}

// RemoveContainer implements the service.
func (c *control) RemoveContainer(ctx context.Context, r *api.RemoveContainerRequest) (*api.RemoveContainerResponse, error) {
	if err := checkID("container_id", r.ContainerId); err != nil {
		return nil, err
	}
	ct := toRemove(c.Agent, containerName(r.ContainerId), c.containers, r.ContainerId)
	if ct == nil {
		return &api.RemoveContainerResponse{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, removalTime)
	defer cancel()
	unused, volumes, err := c.removeContainer(ctx, ct)
	if err != nil {
		return nil, fmt.Errorf("remove container %q: %w", ct.id, err)
	}
	return &api.RemoveContainerResponse{UnusedLayers: unused, UnusedVolumes: volumes}, nil
}

// removeContainer kills a container if need be and undoes its creation. What fails may
// be tried again.
func (a *Agent) removeContainer(ctx context.Context, c *container) (unused, volumes []string, err error) {
	c.execing.Lock()
	defer c.execing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.made {
		return nil, nil, nil
	}
	if err := a.endProcesses(ctx, c); err != nil {
		return nil, nil, err
	}
	if err := a.cfg.Runtime.Delete(ctx, c.id); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(a.cfg.Cgroups.Remove(ctx, c.cgroup()), a.cfg.Disks.Unmount(ctx, c.root())); err != nil {
		return nil, nil, err
	}
	layers, volumes, err := a.dropMounts(ctx, c)
	c.unused, c.unusedVolumes = append(c.unused, layers...), append(c.unusedVolumes, volumes...)
	if err != nil {
		return nil, nil, err
	}
	if !c.dropped {
		c.dropped = true
		layers, err := a.dropLayers(ctx, c.layers)
		c.unused = append(c.unused, layers...)
		if err != nil {
			return nil, nil, err
		}
	}
	if err := errors.Join(os.RemoveAll(c.upper), os.RemoveAll(c.dir)); err != nil {
		return nil, nil, err
	}
	c.made = false
	a.forget(c)
	return c.unused, c.unusedVolumes, nil
}

// endProcesses kills all of a container's processes and waits for those the agent knows.
func (a *Agent) endProcesses(ctx context.Context, c *container) error {
	if err := a.cfg.Cgroups.Kill(c.cgroup()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	c.execsMu.Lock()
	var procs []*process
	for _, p := range c.execs {
		if p != nil {
			procs = append(procs, p)
		}
	}
	c.execsMu.Unlock()
	for _, p := range procs {
		p.proc.Signal(unix.SIGKILL) // one that has exited is as good
		select {
		case <-p.done:
			p.io.close()
		case <-ctx.Done():
			return fmt.Errorf("wait for killed process %d: %w", p.proc.PID(), ctx.Err())
		}
	}
	return nil
}

// forget takes a container out of the agent's list.
func (a *Agent) forget(c *container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.containers[c.id] == c {
		delete(a.containers, c.id)
	}
}
