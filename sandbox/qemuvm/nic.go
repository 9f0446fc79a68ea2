package qemuvm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

// nics are the VM's NICs, all of which are there from boot, by their numbers.
type nics struct {
	mu   sync.Mutex // guards used
	used map[int]*nic
}

// nic is a NIC that does not wait.
type nic struct {
	name string // what it is attached as
	busy bool   // being attached or detached
}

// reserve takes the waiting NIC of the lowest number for a name.
func (s *nics) reserve(name string, count int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.used {
		if k.name == name {
			return 0, fmt.Errorf("nic is attached: %w", errdefs.ErrAlreadyExists)
		}
	}
	for n := range count {
		if s.used[n] == nil {
			if s.used == nil {
				s.used = map[int]*nic{}
			}
			s.used[n] = &nic{name: name, busy: true}
			return n, nil
		}
	}
	return 0, fmt.Errorf("all nics of the vm are attached, there are %d: %w", count, errdefs.ErrResourceExhausted)
}

// take marks the NIC of a name busy for its detaching; false when there is none.
func (s *nics) take(name string) (n int, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, k := range s.used {
		switch {
		case k.name != name:
		case k.busy:
			return 0, false, fmt.Errorf("nic is being changed: %w", errdefs.ErrFailedPrecondition)
		default:
			k.busy = true
			return n, true, nil
		}
	}
	return 0, false, nil
}

// settle ends what reserve or take began. A NIC that is lost never waits again.
func (s *nics) settle(n int, attached, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case attached:
		s.used[n].busy = false
	case lost:
		s.used[n].name = "" // nobody's, and busy
	default:
		delete(s.used, n)
	}
}

// setLink raises or lowers a NIC's link as the guest sees it.
func setLink(n int, up bool) qmp.Command {
	return qmp.Command{Name: "set_link", Args: map[string]any{"name": nicDevice(n), "up": up}}
}

// AttachNIC implements sandbox.VM. ResourceExhausted for one more than the VM was made with.
func (v *VM) AttachNIC(ctx context.Context, n sandbox.NIC) (sandbox.NICInfo, error) {
	number, err := v.attachNIC(ctx, n)
	if err != nil {
		return sandbox.NICInfo{}, fmt.Errorf("attach nic %s: %w", n.Name, err)
	}
	return sandbox.NICInfo{MAC: guestMAC(number)}, nil
}

func (v *VM) attachNIC(ctx context.Context, n sandbox.NIC) (number int, err error) {
	if n.Name == "" || (n.Namespace == "") != (n.Interface == "") {
		return 0, fmt.Errorf("a name, and both or none of namespace and interface are needed: %w", errdefs.ErrInvalidArgument)
	}
	client, err := v.client()
	if err != nil {
		return 0, err
	}
	if number, err = v.nics.reserve(n.Name, len(v.res.taps)); err != nil {
		return 0, err
	}
	tap := v.res.taps[number]
	defer func() { v.nics.settle(number, err == nil, tap.Gone()) }()
	if n.Namespace != "" {
		if err := tap.Join(ctx, n.Namespace, n.Interface); err != nil {
			return 0, err
		}
	}
	if r := client.Do(ctx, setLink(number, true)); r[0].Err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return 0, v.orGone(errors.Join(r[0].Err, tap.Leave(undo)))
	}
	return number, nil
}

// DetachNIC implements sandbox.VM.
func (v *VM) DetachNIC(ctx context.Context, name string) error {
	if err := v.detachNIC(ctx, name); err != nil {
		return fmt.Errorf("detach nic %s: %w", name, err)
	}
	return nil
}

func (v *VM) detachNIC(ctx context.Context, name string) (err error) {
	number, ok, err := v.nics.take(name)
	if !ok || err != nil {
		return err
	}
	tap := v.res.taps[number]
	// The NIC of a tap that went away with its namespace is no use to anybody.
	defer func() { v.nics.settle(number, err != nil, tap.Gone()) }()
	client, err := v.client()
	if err != nil {
		return err
	}
	if r := client.Do(ctx, setLink(number, false)); r[0].Err != nil {
		return v.orGone(r[0].Err)
	}
	return tap.Leave(ctx)
}
