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
	a := m.askPods(ctx, []*pod{p}, false, 0)[0]
	if a.err != nil {
		return PodUsage{}, fmt.Errorf("figures of pod sandbox %s: %w", p.id, a.err)
	}
	var u PodUsage
	containers := m.containersOf(p)
	sortOldest(containers)
	if !u.fill(p, containers, a.vm) {
		return PodUsage{}, fmt.Errorf("figures of pod sandbox %s: its VM tells none: %w", p.id, errdefs.ErrUnavailable)
	}
	return u, nil
}

// PodsUsage tells what the ready pods that match the filter use, oldest first, as it was a
// second ago at most; with openFiles as it is now, and also how many files they have open.
// It takes Timeouts.Usage at most: pods whose VMs do not answer by then, or have no
// figures, are left out.
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
	ask, err := m.selectPods(f)
	if err != nil {
		return err
	}
	ask = slices.DeleteFunc(ask, func(p *pod) bool { return p.current().shown() != PodReady })
	age := usageAge
	if openFiles { // metrics, which say of no time that they were kept
		age = 0
	}
	answers := m.askPods(ctx, ask, openFiles, age)
	containers := m.containersByPod(ask)
	var u PodUsage
	for i, p := range ask {
		if a := answers[i]; a.err == nil && u.fill(p, containers[i], a.vm) {
			do(&u)
		}
	}
	return ctx.Err()
}

// containersByPod are the containers of each of some pods, oldest first.
func (m *Manager) containersByPod(pods []*pod) [][]*container {
	all := m.containersOf(nil)
	sortOldest(all)
	at := make(map[*pod]int, len(pods))
	for i, p := range pods {
		at[p] = i
	}
	// One array for all: how many each has is counted first.
	ends := make([]int, len(pods))
	for _, c := range all {
		if i, ok := at[c.pod]; ok {
			ends[i]++
		}
	}
	out, from := make([][]*container, len(pods)), 0
	array := make([]*container, len(all))
	for i, n := range ends {
		out[i] = array[from : from : from+n]
		from += n
	}
	for _, c := range all {
		if i, ok := at[c.pod]; ok {
			out[i] = append(out[i], c)
		}
	}
	return out
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
	a := m.askPods(ctx, []*pod{c.pod}, false, 0)[0]
	if a.err != nil {
		return ContainerUsage{}, fmt.Errorf("figures of container %s: %w", c.id, a.err)
	}
	var u ContainerUsage
	u.fill(c, a.vm)
	return u, nil
}

// EachContainerUsage tells what the containers that match the filter use, oldest first, as
// it was a second ago at most. It takes Timeouts.Usage at most: those whose VMs do not
// answer by then, or have no figures, are left out, and so are those whose VMs are gone.
// What do is given is do's until it returns.
func (m *Manager) EachContainerUsage(ctx context.Context, f ContainerFilter, do func(*ContainerUsage)) error {
	containers, err := m.selectContainers(f)
	if err != nil {
		return err
	}
	if f.Phase != "" {
		containers = slices.DeleteFunc(containers, func(c *container) bool { return c.current().shown() != f.Phase })
	}
	var ask []*pod
	of := make([]int, len(containers)) // which of ask each is of
	seen := map[*pod]int{}
	for i, c := range containers {
		at, ok := seen[c.pod]
		if !ok {
			at = len(ask)
			seen[c.pod] = at
			ask = append(ask, c.pod)
		}
		of[i] = at
	}
	answers := m.askPods(ctx, ask, false, usageAge)
	var u ContainerUsage
	for i, c := range containers {
		if a := answers[of[i]]; a.err == nil {
			u.fill(c, a.vm)
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

// askPods asks the VMs of pods, all at the same time, so that those that hang cost no more
// than one. A VM is asked once, however many of the pods share it, and one that has told
// its figures within age is not asked.
func (m *Manager) askPods(ctx context.Context, pods []*pod, openFiles bool, age time.Duration) []*answer {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Usage)
	defer cancel()
	answers, own := make([]*answer, len(pods)), make([]answer, len(pods))
	var shared map[string]*answer // by VM
	var wg sync.WaitGroup
	for i, p := range pods {
		a := &own[i]
		if p.seat != nil {
			if first := shared[p.vmID()]; first != nil {
				answers[i] = first
				continue
			}
		}
		answers[i] = a
		shim := p.running()
		if shim == nil {
			a.err = fmt.Errorf("its VM cannot be reached: %w", errdefs.ErrUnavailable)
			continue
		}
		if p.seat != nil {
			if shared == nil {
				shared = map[string]*answer{}
			}
			shared[p.vmID()] = a
		}
		kept := p.ofVM()
		vm, ok, changes := kept.get(age)
		if ok {
			a.vm = vm
			continue
		}
		wg.Go(func() {
			asked := time.Now()
			if a.vm, a.err = shim.Stats(ctx, openFiles); a.err != nil {
				logkey.Logger(ctx).Debug("no figures of a pod", logkey.PodID, p.id, logkey.Error, a.err)
				kept.forget() // it does not stand for what it told before
				return
			}
			kept.keep(a.vm, asked, changes)
		})
	}
	wg.Wait()
	return answers
}

// fill picks a pod and those of its containers, oldest first, that run from its VM's figures.
// It reports false when there are none of the pod.
func (u *PodUsage) fill(p *pod, containers []*container, vm usage.VM) bool {
	of, ok := vm.Pods[p.id]
	if !ok || of.Group == nil {
		return false
	}
	p.viewTo(&u.Pod)
	u.Usage, u.NanoCores, u.Containers = of, p.rate.add(of.Group, p.vcpus), u.Containers[:0]
	for _, c := range containers {
		if c.current() == containerRunning {
			n := len(u.Containers)
			u.Containers = slices.Grow(u.Containers, 1)[:n+1]
			u.Containers[n].fill(c, vm)
		}
	}
	return true
}

// fill picks a container from its VM's figures. What does not run uses no CPU.
func (u *ContainerUsage) fill(c *container, vm usage.VM) {
	c.viewTo(&u.Container)
	u.Usage, u.NanoCores = vm.Containers[c.id], nil
	if u.Container.Phase != ContainerRunning {
		u.Usage.Group = nil
		return
	}
	u.NanoCores = c.rate.add(u.Usage.Group, c.pod.vcpus)
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
