package sandbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/usage"
)

// PodUsage is what a pod uses, as its VM told it.
type PodUsage struct {
	Pod        Pod
	Usage      usage.Pod
	NanoCores  *uint64          // CPU time a second of late; nil: not known yet
	Containers []ContainerUsage // those that run, oldest first
}

// ContainerUsage is what a container uses, as its VM told it.
type ContainerUsage struct {
	Container Container
	Usage     usage.Container // zero when its VM is gone
	NanoCores *uint64         // CPU time a second of late; nil: not known yet
}

// PodUsage tells what a ready pod uses. Errors are those of the pod's VM: it may be of a
// build that counts nothing (NotImplemented), or not answer in time.
func (m *Manager) PodUsage(ctx context.Context, id string) (PodUsage, error) {
	p, err := m.findPod(id)
	if err != nil {
		return PodUsage{}, err
	}
	if _, err := p.ready(); err != nil {
		return PodUsage{}, err
	}
	a := m.askPods(ctx, []*pod{p}, false)[p]
	if a.err != nil {
		return PodUsage{}, fmt.Errorf("figures of pod sandbox %s: %w", p.id, a.err)
	}
	var u PodUsage
	if !u.fill(p, m.containersOf(p), a.vm) {
		return PodUsage{}, fmt.Errorf("figures of pod sandbox %s: its VM tells none: %w", p.id, errdefs.ErrUnavailable)
	}
	return u, nil
}

// PodsUsage tells what the ready pods that match the filter use, oldest first; with
// openFiles also how many files they have open. It takes Timeouts.Usage at most: pods
// whose VMs do not answer by then, or have no figures, are left out.
func (m *Manager) PodsUsage(ctx context.Context, f PodFilter, openFiles bool) (out []PodUsage, err error) {
	err = m.EachPodUsage(ctx, f, openFiles, func(u *PodUsage) {
		out = append(out, *u)
		out[len(out)-1].Containers = slices.Clone(u.Containers)
	})
	return out, err
}

// EachPodUsage calls do for each of PodsUsage. What do is given is do's until it returns,
// and so are its containers.
func (m *Manager) EachPodUsage(ctx context.Context, f PodFilter, openFiles bool, do func(*PodUsage)) error {
	f.State = PodReady
	var ask []*pod
	if err := m.eachPod(f, func(p *pod, _ *Pod) { ask = append(ask, p) }); err != nil {
		return err
	}
	answers := m.askPods(ctx, ask, openFiles)
	containers := map[*pod][]*container{}
	for _, c := range m.containersOf(nil) {
		containers[c.pod] = append(containers[c.pod], c)
	}
	var u PodUsage
	for _, p := range ask {
		if a := answers[p]; a.err == nil && u.fill(p, containers[p], a.vm) {
			do(&u)
		}
	}
	return ctx.Err()
}

// ContainerUsage tells what a container uses: for one that does not run what its writable
// layer takes, while its VM is there. Errors are as PodUsage's.
func (m *Manager) ContainerUsage(ctx context.Context, id string) (ContainerUsage, error) {
	c, err := m.findContainer(id)
	if err != nil {
		return ContainerUsage{}, err
	}
	if c.current() != containerRunning && c.pod.running() == nil {
		return ContainerUsage{Container: c.view()}, nil
	}
	a := m.askPods(ctx, []*pod{c.pod}, false)[c.pod]
	if a.err != nil {
		return ContainerUsage{}, fmt.Errorf("figures of container %s: %w", c.id, a.err)
	}
	return c.usage(a.vm), nil
}

// EachContainerUsage tells what the containers that match the filter use, oldest first. It
// takes Timeouts.Usage at most: those whose VMs do not answer by then, or have no
// figures, are left out, and so are those whose VMs are gone. What do is given is do's
// until it returns.
func (m *Manager) EachContainerUsage(ctx context.Context, f ContainerFilter, do func(*ContainerUsage)) error {
	var ask []*pod
	var containers []*container
	seen := map[*pod]bool{}
	err := m.eachContainer(f, func(c *container, _ *Container) {
		containers = append(containers, c)
		if !seen[c.pod] {
			seen[c.pod] = true
			ask = append(ask, c.pod)
		}
	})
	if err != nil {
		return err
	}
	answers := m.askPods(ctx, ask, false)
	var u ContainerUsage
	for _, c := range containers {
		if a := answers[c.pod]; a.err == nil {
			u = c.usage(a.vm)
			do(&u)
		}
	}
	return ctx.Err()
}

// answer is what a pod's VM told, or why it did not.
type answer struct {
	vm  usage.VM
	err error
}

// askPods asks all VMs at the same time, so that those that hang cost no more than one.
func (m *Manager) askPods(ctx context.Context, pods []*pod, openFiles bool) map[*pod]answer {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Usage)
	defer cancel()
	answers := make([]*answer, len(pods))
	byVM := make(map[string]*answer, len(pods)) // a VM is asked once, however many pods share it
	var wg sync.WaitGroup
	for i, p := range pods {
		shim := p.running()
		if shim == nil {
			answers[i] = &answer{err: fmt.Errorf("its VM cannot be reached: %w", errdefs.ErrUnavailable)}
			continue
		}
		a := byVM[p.vmID()]
		if answers[i] = a; a != nil {
			continue
		}
		a = &answer{}
		answers[i], byVM[p.vmID()] = a, a
		wg.Go(func() {
			if a.vm, a.err = shim.Stats(ctx, openFiles); a.err != nil {
				logkey.Logger(ctx).Debug("no figures of a pod", logkey.PodID, p.id, logkey.Error, a.err)
			}
		})
	}
	wg.Wait()
	out := make(map[*pod]answer, len(pods))
	for i, p := range pods {
		out[p] = *answers[i]
	}
	return out
}

// fill picks a pod and those of its containers that run from its VM's figures. It reports
// false when there are none of the pod.
func (u *PodUsage) fill(p *pod, containers []*container, vm usage.VM) bool {
	of, ok := vm.Pods[p.id]
	if !ok || of.Group == nil {
		return false
	}
	*u = PodUsage{Pod: p.view(), Usage: of, NanoCores: p.rate.add(of.Group, p.vcpus), Containers: u.Containers[:0]}
	sortContainers(containers)
	for _, c := range containers {
		if c.current() == containerRunning {
			u.Containers = append(u.Containers, c.usage(vm))
		}
	}
	return true
}

// usage picks a container from its VM's figures. What does not run uses no CPU.
func (c *container) usage(vm usage.VM) ContainerUsage {
	out := ContainerUsage{Container: c.view(), Usage: vm.Containers[c.id]}
	if out.Container.Phase != ContainerRunning {
		out.Usage.Group = nil
		return out
	}
	out.NanoCores = c.rate.add(out.Usage.Group, c.pod.vcpus)
	return out
}

// The span that a CPU rate is taken over: in a shorter one the kernel's accounting shows,
// a longer one says nothing of now.
const (
	shortestRate = time.Second
	longestRate  = 5 * time.Minute
)

// cpuSample is the CPU time used until a moment.
type cpuSample struct {
	at   time.Time
	used time.Duration
}

// cpuRate works out from the figures that come by how much CPU is used. The zero value is
// ready for use; it is safe for concurrent use.
type cpuRate struct {
	mu          sync.Mutex // guards both
	older, last cpuSample
}

// add takes figures and returns the CPU time used in a second, in nanoseconds, since some
// that are old enough. Nil: there are none, or they do not go together, as after a clock
// was set. It is never more than the CPUs there are.
func (r *cpuRate) add(g *usage.Group, vcpus int) *uint64 {
	if g == nil || g.CPU == nil {
		return nil
	}
	now := cpuSample{at: g.At, used: g.CPU.Usage}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.at.Before(r.last.at) || now.used < r.last.used {
		r.older, r.last = cpuSample{}, now
		return nil
	}
	from := r.older
	if now.at.Sub(r.last.at) >= shortestRate {
		from = r.last
		r.older, r.last = r.last, now
	}
	span := now.at.Sub(from.at)
	if from.at.IsZero() || span < shortestRate || span > longestRate {
		return nil
	}
	rate := float64(now.used-from.used) / span.Seconds()
	if vcpus > 0 {
		rate = min(rate, float64(vcpus)*float64(time.Second))
	}
	n := uint64(rate)
	return &n
}
