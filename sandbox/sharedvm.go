package sandbox

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/logkey"
)

// vmState is where a shared VM is in its life.
//
//	           launched                 its last pod leaves, or it ended
//	vmNew ───────────────▶ vmUp ────────────────────────────────────▶ vmGone
//	  │                     ▲  found                                    ▲
//	  │        vmUnknown ───┴───────────────────────────────────────────┤
//	  └─────────────────────────────────────────────────────────────────┘
//	     the launch failed, or nobody is left who wants it
type vmState int

const (
	vmNew     vmState = iota // somebody is to launch it
	vmUnknown                // an earlier daemon had it, and it was not found yet
	vmUp                     // it has a shim
	vmGone                   // there is nothing of it
)

// vmSpec is what a shared VM is for and how large it is. Pods share one only if it is the
// same for both: after a change of the configuration new pods get new VMs.
type vmSpec struct {
	Handler   string `json:"handler"`
	Key       string `json:"key"`
	VCPUs     int    `json:"vcpus"`
	MemoryMiB int    `json:"memoryMiB"`
	RoomMiB   int    `json:"roomMiB"` // of its memory that pods can be promised
	Pods      int    `json:"pods"`    // how many it may hold
}

// sharedVM is a VM that several pods share. It starts with the first of them and goes with
// the last.
type sharedVM struct {
	id   string // immutable
	spec vmSpec // immutable
	// turn is held while it is launched, found or ended, and guards failed.
	turn   *gate
	failed error  // why it could not be launched
	sample sample // has its own lock

	mu     sync.Mutex // guards the rest
	state  vmState
	shim   Shim  // of vmUp
	why    error // of vmGone, when that was not asked for
	ending bool  // it takes no pods any more
}

// takesPods tells whether the VM runs or is about to.
func (v *sharedVM) takesPods() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.ending && (v.state == vmNew || v.state == vmUp && !isClosed(v.shim.Done()))
}

func (v *sharedVM) current() (vmState, Shim, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, v.shim, v.why
}

func (v *sharedVM) become(state vmState, shim Shim, why error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state, v.shim, v.why = state, shim, why
}

// close keeps further pods out.
func (v *sharedVM) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ending = true
}

// gone is the error of a VM that there is not; why may be nil.
func (v *sharedVM) gone(why error) error {
	if why == nil {
		return fmt.Errorf("shared VM %s has ended: %w", v.id, errdefs.ErrUnavailable)
	}
	return why
}

// joinShared gives a pod of a handler whose pods share VMs its seat.
func (m *Manager) joinShared(p *pod, h Handler) {
	if h.Sharing == nil {
		return
	}
	r := p.config.Resources
	p.seat = m.shared.join(p, vmSpec{
		Handler: p.config.RuntimeHandler, Key: h.Sharing.key(p.config),
		VCPUs: h.VCPUs, MemoryMiB: h.MemoryMiB, RoomMiB: h.room(), Pods: h.Sharing.Pods,
	}, r.need())
}

// leaveUnseen gives up the VM, or the seat in one, of a pod that nothing was made of.
func (m *Manager) leaveUnseen(ctx context.Context, p *pod) error {
	if p.seat != nil {
		m.shared.free(p.seat)
	}
	if p.spare != nil {
		return m.endSpare(ctx, p.spare)
	}
	return nil
}

// sharingOf says how a pod that shares its VM is to be kept from the others there; nil: it
// has a VM to itself.
func (m *Manager) sharingOf(p *pod) *Sharing {
	if p.seat == nil {
		return nil
	}
	if s := m.cfg.Handlers[p.config.RuntimeHandler].Sharing; s != nil {
		return s
	}
	return &Sharing{} // the configuration has changed since
}

// launchShared returns the VM of a seat once it runs: the first who comes launches it, and
// if that one gives up, the next.
func (m *Manager) launchShared(ctx context.Context, st *seat) (Shim, error) {
	vm := st.vm
	leave, err := vm.turn.alone(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for shared VM %s: %w", vm.id, err)
	}
	defer leave()
	if vm.failed != nil {
		return nil, vm.failed
	}
	switch state, shim, why := vm.current(); state {
	case vmNew:
	case vmUp:
		return &tenant{Shim: shim, m: m, seat: st}, nil
	default:
		return nil, vm.gone(why)
	}
	shim, err := m.cfg.Launcher.Launch(ctx, ShimConfig{
		ID: vm.id, Pods: vm.spec.Pods, VCPUs: vm.spec.VCPUs, MemoryMiB: vm.spec.MemoryMiB,
	})
	if err != nil {
		if ctx.Err() == nil {
			vm.failed = err
			vm.become(vmGone, nil, err)
		}
		return nil, err
	}
	vm.become(vmUp, shim, nil)
	return &tenant{Shim: shim, m: m, seat: st}, nil
}

// findShared returns the VM of a seat that an earlier daemon had. NotFound when it is gone,
// with the reason.
func (m *Manager) findShared(ctx context.Context, st *seat) (Shim, error) {
	vm := st.vm
	leave, err := vm.turn.alone(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	state, shim, why := vm.current()
	switch state {
	case vmUp:
		return &tenant{Shim: shim, m: m, seat: st}, nil
	case vmGone:
		return nil, vm.gone(why)
	}
	shim, err = m.cfg.Launcher.Open(ctx, vm.id)
	if errdefs.IsNotFound(err) {
		vm.become(vmGone, nil, err)
	}
	if err != nil {
		return nil, err
	}
	vm.become(vmUp, shim, nil)
	return &tenant{Shim: shim, m: m, seat: st}, nil
}

// vacate gives a pod's seat up: it takes the pod out of its VM, and ends the VM when no
// other pod wants it. It may be called again, to finish, or for a seat that was given up.
func (m *Manager) vacate(ctx context.Context, st *seat) error {
	held, last := m.shared.leave(st)
	if !held {
		return nil
	}
	var err error
	if last {
		err = m.endShared(ctx, st.vm)
	} else {
		err = m.moveOut(ctx, st)
	}
	if err != nil {
		return err
	}
	m.shared.free(st)
	return nil
}

// moveOut takes a pod out of a VM that has others. A VM that cannot be asked to, so that
// none of its pods is ready, is ended.
func (m *Manager) moveOut(ctx context.Context, st *seat) error {
	state, shim, _ := st.vm.current()
	switch state {
	case vmNew, vmGone: // it was never in it, or is not any more
		return nil
	case vmUnknown:
		openCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Open)
		defer cancel()
		found, err := m.findShared(openCtx, st)
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case err != nil && ctx.Err() == nil && !m.recovering && m.shared.useless(st):
			return m.endShared(ctx, st.vm)
		case err != nil:
			return fmt.Errorf("take pod out of shared VM %s: %w", st.vm.id, err)
		}
		shim = found
	}
	if !isClosed(shim.Done()) {
		err := shim.RemovePod(ctx, st.pod.id)
		if err == nil || !isGone(ctx, shim, err) {
			return err
		}
	}
	return m.endShared(ctx, st.vm)
}

// endShared ends a VM, whether or not this daemon is connected to its shim.
func (m *Manager) endShared(ctx context.Context, vm *sharedVM) error {
	leave, err := vm.turn.alone(ctx)
	if err != nil {
		return err
	}
	defer leave()
	vm.close()
	state, shim, why := vm.current()
	if state == vmNew || state == vmGone {
		vm.become(vmGone, nil, why)
		return nil
	}
	if shim == nil || isClosed(shim.Done()) {
		old := shim
		if shim, err = m.openToEnd(ctx, vm.id); err != nil {
			return err
		}
		if shim == nil {
			vm.become(vmGone, nil, nil)
			return closeShim(old)
		}
		vm.become(vmUp, shim, nil)
		if err := closeShim(old); err != nil {
			return err
		}
	}
	if err := shim.Shutdown(ctx); err != nil {
		return err
	}
	vm.become(vmGone, nil, nil)
	return shim.Close()
}

// closeShared lets go of the shims of shared VMs, which go on.
func (m *Manager) closeShared() {
	for vm := range m.shared.all() {
		if _, shim, _ := vm.current(); shim != nil {
			if err := shim.Close(); err != nil {
				m.log.Warn("close connection to shim", logkey.VMID, vm.id, logkey.Error, err)
			}
		}
	}
}

// evictStrays takes pods out of shared VMs that no record knows.
func (m *Manager) evictStrays(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeouts.Step)
	defer cancel()
	for vm, known := range m.shared.all() {
		_, shim, _ := vm.current()
		if shim == nil {
			continue
		}
		held, err := shim.State(ctx)
		for _, id := range held.Pods {
			if err == nil && !slices.Contains(known, id) {
				m.log.Warn("removing a pod that no record knows", logkey.VMID, vm.id, logkey.PodID, id)
				err = shim.RemovePod(ctx, id)
			}
		}
		if err != nil {
			m.log.Error("remove pods that no record knows", logkey.VMID, vm.id, logkey.Error, err)
		}
	}
}

// tenant is the shim of a shared VM as one of its pods has it: the pod's end is not the VM's.
type tenant struct {
	Shim
	m    *Manager
	seat *seat
}

// Shutdown takes the pod out of the VM, and ends that when it was the last one.
func (t *tenant) Shutdown(ctx context.Context) error { return t.m.vacate(ctx, t.seat) }

// Close does nothing: the connection is the VM's.
func (t *tenant) Close() error { return nil }

// State lists what the VM holds of the pod.
func (t *tenant) State(ctx context.Context) (ShimState, error) {
	all, err := t.Shim.State(ctx)
	if err != nil {
		return ShimState{}, err
	}
	id := t.seat.pod.id
	if !slices.Contains(all.Pods, id) {
		return ShimState{}, fmt.Errorf("shared VM %s does not know the pod: %w", t.seat.vm.id, errdefs.ErrNotFound)
	}
	out := ShimState{Pods: []string{id}}
	for _, c := range all.Containers {
		if c.PodID == id {
			out.Containers = append(out.Containers, c)
		}
	}
	return out, nil
}
