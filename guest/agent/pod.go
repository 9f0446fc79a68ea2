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

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/disk"
	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/internal/undo"
)

// nicTime bounds the wait for a pod's NICs.
const nicTime = 10 * time.Second

// pod is what containers share.
type pod struct {
	id         string // immutable, as the next four
	dir        string
	scratch    disk.Address
	namespaces podns.Options
	twoSteps   bool // it is begun before it is made

	limits podLimits // has its own lock

	// ready is held for writing while the pod is made or removed, for reading while a
	// container of it is made. It guards the rest.
	ready      sync.RWMutex
	pause      *reap.Process // nil before the pod is made and after it is removed
	begun      *reap.Process // what will be pause; nil but while the pod is begun and not made
	hadWaiting bool          // its namespaces waited for it
	files      map[string]string
	interfaces []podns.Interface
}

func (p *pod) cgroup() string     { return "/pods/" + p.id }
func (p *pod) scratchDir() string { return filepath.Join(p.dir, "s") }
func (p *pod) shmDir() string     { return filepath.Join(p.dir, "shm") }

// CreatePod implements the service.
func (c *control) CreatePod(ctx context.Context, r *api.CreatePodRequest) (*api.CreatePodResponse, error) {
	interfaces, err := checkPod(r)
	if err != nil {
		return nil, err
	}
	var limits *specs.LinuxResources
	if len(r.Limits) > 0 {
		if limits, err = parseResources(r.Limits); err != nil {
			return nil, err
		}
	}
	namespaces, err := podNamespaces(r.Namespaces)
	if err != nil {
		return nil, err
	}
	if !r.Begin {
		if p := c.begunPod(r.PodId); p != nil {
			if err := c.finishBegun(ctx, p, r, interfaces); err != nil {
				return nil, err
			}
			return &api.CreatePodResponse{Phases: phase.Encode(ctx)}, nil
		}
	}
	p := &pod{
		id:         r.PodId,
		dir:        filepath.Join(c.cfg.Dir, "p", r.PodId),
		interfaces: interfaces,
		scratch:    disk.Address{Controller: r.Scratch.Controller, LUN: r.Scratch.Lun},
		limits:     podLimits{resources: limits},
		namespaces: namespaces,
		twoSteps:   r.Begin,
	}
	p.ready.Lock()
	defer p.ready.Unlock()
	if err := admit(c.Agent, podName(p.id), c.pods, p.id, p); err != nil {
		return nil, err
	}
	if err := c.makePod(ctx, p, r); err != nil {
		c.forgetPod(p)
		return nil, err
	}
	return &api.CreatePodResponse{Phases: phase.Encode(ctx)}, nil
}

// undoTime bounds each step of undoing a failed call.
const undoTime = 30 * time.Second

// makePod does the work of CreatePod. On error nothing is left.
func (a *Agent) makePod(ctx context.Context, p *pod, r *api.CreatePodRequest) (err error) {
	var u undo.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Run(ctx, undoTime))
		}
	}()
	step := phase.Steps(ctx)
	defer step("")
	u.Push("remove folder", func(context.Context) error { return os.RemoveAll(p.dir) })
	u.Push("release scratch", func(ctx context.Context) error {
		return errors.Join(a.cfg.Disks.Unmount(ctx, p.scratchDir()), a.cfg.Disks.Eject(p.scratch))
	})
	step("mount scratch")
	if err := a.mountScratch(ctx, p, r.ScratchMounted); err != nil {
		return err
	}
	size := r.ShmBytes
	if size == 0 {
		size = defaultShm
	}
	if err := a.cfg.Disks.MountShm(p.shmDir(), size); err != nil {
		return err
	}
	u.Push("unmount shm", func(ctx context.Context) error { return a.cfg.Disks.Unmount(ctx, p.shmDir()) })
	if err := a.cfg.Cgroups.Create(p.cgroup()); err != nil {
		return err
	}
	u.Push("remove cgroup", func(ctx context.Context) error { return a.cfg.Cgroups.Remove(ctx, p.cgroup()) })
	if limits := p.limits.resources; limits != nil {
		if err := a.cfg.Cgroups.Limit(p.cgroup(), limits); err != nil {
			return err
		}
	}
	step("make namespaces")
	pause, prepared, err := a.pauseOf(p, r.Sysctls)
	if err != nil {
		return err
	}
	u.Push("end namespaces", func(context.Context) error {
		err := a.cfg.Namespaces.ReleaseNetwork(pause.PID(), p.interfaces)
		kill(pause)
		return err
	})
	if err := a.cfg.Namespaces.SetNames(pause.PID(), r.Hostname, r.Sysctls); err != nil {
		return err
	}
	if r.Begin {
		if !prepared {
			if err := a.cfg.Namespaces.Prepare(pause.PID()); err != nil {
				return err
			}
		}
		p.begun = pause
		return nil
	}
	return a.finishPod(ctx, p, pause, r, step)
}

// finishPod does what makePod leaves when a pod is only begun.
func (a *Agent) finishPod(ctx context.Context, p *pod, pause *reap.Process, r *api.CreatePodRequest, step func(string)) error {
	step("write files")
	if err := p.writeFiles(r); err != nil {
		return err
	}
	step("set network")
	ctx, cancel := context.WithTimeout(ctx, nicTime)
	defer cancel()
	if err := a.cfg.Namespaces.SetNetwork(ctx, pause.PID(), p.interfaces); err != nil {
		return err
	}
	p.pause, p.begun = pause, nil
	return nil
}

// writeFiles makes the pod's folder and its name files. An empty one is not made, and
// the image's own is seen.
func (p *pod) writeFiles(r *api.CreatePodRequest) error {
	p.files = map[string]string{}
	if err := os.MkdirAll(filepath.Join(p.dir, "etc"), 0o755); err != nil {
		return err
	}
	hostname := r.Hostname
	if hostname != "" {
		hostname += "\n"
	}
	for name, text := range map[string]string{"hostname": hostname, "hosts": r.Hosts, "resolv.conf": r.ResolvConf} {
		if text == "" {
			continue
		}
		file := filepath.Join(p.dir, "etc", name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		if u := p.namespaces.Users; u != nil {
			uid, gid := u.Root()
			if err := os.Chown(file, int(uid), int(gid)); err != nil {
				return err
			}
		}
		p.files["/etc/"+name] = file
	}
	return nil
}

// RemovePod implements the service.
func (c *control) RemovePod(ctx context.Context, r *api.RemovePodRequest) (*api.RemovePodResponse, error) {
	if err := checkID("pod_id", r.PodId); err != nil {
		return nil, err
	}
	p := toRemove(c.Agent, podName(r.PodId), c.pods, r.PodId)
	if p == nil {
		return &api.RemovePodResponse{}, nil
	}
	p.ready.Lock()
	defer p.ready.Unlock()
	if err := c.takeDown(ctx, p); err != nil {
		return nil, err
	}
	c.forgetPod(p)
	c.prepareAgain(p)
	return &api.RemovePodResponse{}, nil
}

// takeDown removes a pod's containers and undoes makePod. What fails may be tried again.
func (a *Agent) takeDown(ctx context.Context, p *pod) error {
	if err := a.cfg.Cgroups.Kill(p.cgroup()); err != nil {
		return err
	}
	a.mu.Lock()
	var left []*container
	for _, c := range a.containers {
		if c.pod == p {
			left = append(left, c)
		}
	}
	a.mu.Unlock()
	for _, c := range left {
		if _, _, err := a.removeContainer(ctx, c); err != nil {
			return fmt.Errorf("remove container %q: %w", c.id, err)
		}
	}
	for _, holder := range []**reap.Process{&p.pause, &p.begun} {
		if *holder == nil {
			continue
		}
		if err := a.cfg.Namespaces.ReleaseNetwork((*holder).PID(), p.interfaces); err != nil {
			return err
		}
		kill(*holder)
		*holder = nil
	}
	if err := errors.Join(
		a.cfg.Disks.Unmount(ctx, p.shmDir()),
		a.cfg.Disks.Unmount(ctx, p.scratchDir()),
		a.cfg.Disks.Eject(p.scratch),
		a.cfg.Cgroups.Remove(ctx, p.cgroup()),
	); err != nil {
		return err
	}
	return os.RemoveAll(p.dir)
}

// kill ends a process and waits for that: SIGKILL is not refused.
func kill(p *reap.Process) {
	p.Signal(unix.SIGKILL)
	<-p.Done()
}
