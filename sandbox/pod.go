package sandbox

import (
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// pod is one pod sandbox in the daemon.
type pod struct {
	id        string    // immutable
	config    PodConfig // immutable; its Resources and Overhead are those at first
	createdAt time.Time // immutable
	store     *store    // immutable
	vcpus     int       // immutable; that its VM has at least, 0 when an older build did not record it
	memoryMiB int       // immutable; likewise

	// seat is its place in a VM that it shares; nil: it has a VM to itself, of its own id.
	// Immutable once others know the pod.
	seat *seat

	rate   cpuRate // of the pod as a whole; has its own lock
	sample sample  // of a VM to itself; has its own lock

	// spare is the VM that ran before the pod asked, and gave the pod its id; nil: one is
	// launched. Immutable.
	spare Shim

	// gate orders operations: CreateContainer and StartContainer share it, StopPod and
	// RemovePod want it alone.
	gate *gate
	// order is held over each change that events tell of, of the pod and of its containers,
	// so that events come in the order of the changes. It is taken before all but the gates.
	order sync.Mutex
	told  told // guarded by order
	// saving keeps writes of the record in the order of the changes. It is taken before mu.
	saving sync.Mutex
	// updating is held while the pod's resources change. It is taken before saving.
	updating sync.Mutex

	mu        sync.Mutex // guards the fields below; never held over a slow call
	state     podState
	forgotten bool // the record is removed and must not come back
	network   *NetworkResult
	reason    string
	ungrouped string
	resources Resources // as they are now
	overhead  Resources
	shim      Shim     // nil when there is none to talk to
	info      ShimInfo // shim's, zero without one
}

// vmID is the id of the pod's VM.
func (p *pod) vmID() string {
	if p.seat != nil {
		return p.seat.vm.id
	}
	return p.id
}

// view is the pod as callers see it.
func (p *pod) view() (v Pod) {
	p.viewTo(&v)
	return v
}

// viewTo is view for many: a Pod is long to copy.
func (p *pod) viewTo(v *Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*v = Pod{
		ID:        p.id,
		Config:    p.config,
		State:     p.state.shown(),
		CreatedAt: p.createdAt,
		Reason:    p.reason,
		Ungrouped: p.ungrouped,
		Shim:      p.info,
		VM:        p.vmID(),
	}
	v.Config.Resources, v.Config.Overhead = p.resources, p.overhead
	if p.network != nil {
		v.IPs, v.NetNS = p.network.IPs, p.network.Namespace
	}
}

func (p *pod) visible() bool {
	return p.current() != podMaking
}

func (p *pod) current() podState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// move takes the transition of e and lets change, which may be nil, edit what goes
// with it. It returns the state before.
func (p *pod) move(e podEvent, change func()) (podState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.state
	to, err := step(podTransitions, from, e)
	if err != nil {
		return from, fmt.Errorf("pod sandbox %s: %w", p.id, err)
	}
	p.state = to
	if change != nil {
		change()
	}
	p.ofVM().forget()
	return from, nil
}

// save writes the record as the pod is now. After forget it does nothing.
func (p *pod) save() error {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	if p.forgotten {
		p.mu.Unlock()
		return nil
	}
	r := podRecord{
		ID:        p.id,
		State:     p.state.String(),
		Config:    p.config,
		CreatedAt: p.createdAt,
		Network:   p.network,
		Reason:    p.reason,
		Ungrouped: p.ungrouped,
		VCPUs:     p.vcpus,
		MemoryMiB: p.memoryMiB,
	}
	r.Config.Resources, r.Config.Overhead = p.resources, p.overhead
	if p.seat != nil {
		r.VM = &vmRecord{ID: p.seat.vm.id, Need: p.seat.need, Spec: p.seat.vm.spec}
	}
	p.mu.Unlock()
	return p.store.savePod(r)
}

// attached records what CNI gave the pod: a crash from then on must find it, for DEL.
func (p *pod) attached(n NetworkResult) error {
	p.mu.Lock()
	p.network = &n
	p.mu.Unlock()
	return p.save()
}

// forget removes the record for good, and those of its containers.
func (p *pod) forget() error {
	p.saving.Lock()
	defer p.saving.Unlock()
	if err := p.store.removePod(p.id); err != nil {
		return err
	}
	p.mu.Lock()
	p.forgotten = true
	p.mu.Unlock()
	return nil
}

// ready returns the pod's shim, or says why the pod takes no work.
func (p *pod) ready() (Shim, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != podReadyVM {
		why := p.state.String()
		if p.reason != "" {
			why += " (" + p.reason + ")"
		}
		return nil, fmt.Errorf("pod sandbox %s is not ready: it is %s: %w", p.id, why, errdefs.ErrFailedPrecondition)
	}
	return p.shim, nil
}

// ending tells whether the pod's VM goes away, or went, as somebody asked for it.
func (p *pod) ending() bool {
	s := p.current()
	return s == podStopping || s == podStopped || s == podRemoving
}

// running is the pod's shim while there is one to talk to, else nil.
func (p *pod) running() Shim {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shim
}

// connect sets the shim to talk to; nil: none.
func (p *pod) connect(s Shim) {
	var info ShimInfo
	if s != nil {
		info = s.Info()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shim, p.info = s, info
	p.ofVM().forget()
}

// toNetwork is how the network knows the pod.
func (p *pod) toNetwork() PodNetwork {
	return PodNetwork{
		ID: p.id, Name: p.config.Name, Namespace: p.config.Namespace, UID: p.config.UID,
		PortMappings: p.config.hostPorts(),
		Annotations:  p.config.Annotations,
		Labels:       p.config.Labels,
		CgroupParent: p.config.CgroupParent,
		DNS:          p.config.DNS,
	}
}
