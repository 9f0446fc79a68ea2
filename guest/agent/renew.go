//go:build linux

package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
)

// FreezePod implements the service.
func (c *control) FreezePod(ctx context.Context, r *api.FreezePodRequest) (*api.FreezePodResponse, error) {
	p, err := c.pod(r.PodId)
	if err != nil {
		return nil, err
	}
	p.ready.Lock() // no container is made meanwhile
	defer p.ready.Unlock()
	var frozen []*container
	for _, ct := range c.containersOf(p) {
		if r.Thaw {
			err = c.cfg.Cgroups.Thaw(ct.cgroup())
		} else {
			err = c.cfg.Cgroups.Freeze(ctx, ct.cgroup())
		}
		if err != nil {
			for _, f := range frozen {
				c.cfg.Cgroups.Thaw(f.cgroup()) // the error that is told is the first
			}
			return nil, fmt.Errorf("container %q: %w", ct.id, err)
		}
		if !r.Thaw {
			frozen = append(frozen, ct)
		}
	}
	return &api.FreezePodResponse{}, nil
}

// containersOf are the containers of a pod that have processes.
func (a *Agent) containersOf(p *pod) []*container {
	a.mu.Lock()
	all := make([]*container, 0, len(a.containers))
	for _, c := range a.containers {
		if c.pod == p {
			all = append(all, c)
		}
	}
	a.mu.Unlock()
	out := all[:0]
	for _, c := range all {
		c.mu.Lock()
		if c.made && !c.process.exited() {
			out = append(out, c)
		}
		c.mu.Unlock()
	}
	return out
}

// RenewPod implements the service.
func (c *control) RenewPod(ctx context.Context, r *api.RenewPodRequest) (*api.RenewPodResponse, error) {
	p, err := c.pod(r.PodId)
	if err != nil {
		return nil, err
	}
	interfaces, err := checkPod(&api.CreatePodRequest{
		PodId: r.PodId, Hostname: r.Hostname, Interfaces: r.Interfaces,
		ResolvConf: r.ResolvConf, Hosts: r.Hosts, Scratch: &api.DiskAddress{},
	})
	if err != nil {
		return nil, err
	}
	p.ready.Lock()
	defer p.ready.Unlock()
	switch {
	case p.pause == nil:
		return nil, fmt.Errorf("pod %q is gone: %w", p.id, errdefs.ErrNotFound)
	case len(interfaces) != len(p.interfaces):
		return nil, fmt.Errorf("pod %q has %d interfaces and is to have %d: %w",
			p.id, len(p.interfaces), len(interfaces), errdefs.ErrFailedPrecondition)
	}
	if err := c.cfg.Namespaces.SetNames(p.pause.PID(), r.Hostname, nil); err != nil {
		return nil, err
	}
	if err := p.rewriteFiles(r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, nicTime)
	defer cancel()
	if err := c.cfg.Namespaces.RenewNetwork(ctx, p.pause.PID(), interfaces); err != nil {
		return nil, err
	}
	p.interfaces = interfaces
	for _, rc := range r.Containers {
		if err := c.renewContainer(ctx, p, rc); err != nil {
			return nil, fmt.Errorf("container %q: %w", rc.GetContainerId(), err)
		}
	}
	return &api.RenewPodResponse{}, nil
}

// rewriteFiles writes the name files that there are in place: containers have them mounted.
func (p *pod) rewriteFiles(r *api.RenewPodRequest) error {
	for name, text := range map[string]string{"hostname": r.Hostname + "\n", "hosts": r.Hosts, "resolv.conf": r.ResolvConf} {
		if _, ok := p.files["/etc/"+name]; !ok {
			continue
		}
		if err := os.WriteFile(filepath.Join(p.dir, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// renewContainer makes a frozen container one that is created: it has streams, and waits
// to be started.
func (c *control) renewContainer(ctx context.Context, p *pod, r *api.RenewContainer) error {
	ct, err := c.container(r.GetContainerId())
	if err != nil {
		return err
	}
	ct.mu.Lock()
	defer ct.mu.Unlock()
	switch {
	case ct.pod != p || !ct.made:
		return fmt.Errorf("it is not in pod %q: %w", p.id, errdefs.ErrNotFound)
	case ct.process.exited():
		return fmt.Errorf("it has exited: %w", errdefs.ErrFailedPrecondition)
	case r.Stdio.GetTerminal() != ct.process.io.terminal:
		return fmt.Errorf("its terminal cannot come or go: %w", errdefs.ErrFailedPrecondition)
	}
	// Frozen it is, unless somebody thawed it before the VM was saved.
	if err := c.cfg.Cgroups.Freeze(ctx, ct.cgroup()); err != nil {
		return err
	}
	streams, err := c.streams.Claim(ctx, r.Stdio.GetStdin(), r.Stdio.GetStdout(), r.Stdio.GetStderr())
	if err != nil {
		return err
	}
	ct.process.io.rejoin(streams)
	ct.renewed, ct.started = true, 0
	return nil
}
