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

// nic is the VM's one NIC.
type nic struct {
	mu   sync.Mutex // held while it is attached or detached; guards name
	name string     // what it is attached as; empty: it waits
}

// setLink raises or lowers the NIC's link as the guest sees it.
func setLink(up bool) qmp.Command {
	return qmp.Command{Name: "set_link", Args: map[string]any{"name": nicDevice, "up": up}}
}

// AttachNIC implements sandbox.VM. A VM has one NIC: ResourceExhausted for a second.
func (v *VM) AttachNIC(ctx context.Context, n sandbox.NIC) (sandbox.NICInfo, error) {
	if err := v.attachNIC(ctx, n); err != nil {
		return sandbox.NICInfo{}, fmt.Errorf("attach nic %s: %w", n.Name, err)
	}
	return sandbox.NICInfo{MAC: guestMAC}, nil
}

func (v *VM) attachNIC(ctx context.Context, n sandbox.NIC) error {
	if n.Name == "" || n.Namespace == "" || n.Interface == "" {
		return fmt.Errorf("name, namespace and interface are needed: %w", errdefs.ErrInvalidArgument)
	}
	client, err := v.client()
	if err != nil {
		return err
	}
	v.nic.mu.Lock()
	defer v.nic.mu.Unlock()
	switch v.nic.name {
	case "":
	case n.Name:
		return fmt.Errorf("nic is attached: %w", errdefs.ErrAlreadyExists)
	default:
		return fmt.Errorf("the one nic is attached as %s: %w", v.nic.name, errdefs.ErrResourceExhausted)
	}
	if err := v.res.tap.Join(ctx, n.Namespace, n.Interface); err != nil {
		return err
	}
	if r := client.Do(ctx, setLink(true)); r[0].Err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return v.orGone(errors.Join(r[0].Err, v.res.tap.Leave(undo)))
	}
	v.nic.name = n.Name
	return nil
}

// DetachNIC implements sandbox.VM.
func (v *VM) DetachNIC(ctx context.Context, name string) error {
	v.nic.mu.Lock()
	defer v.nic.mu.Unlock()
	if v.nic.name == "" || v.nic.name != name {
		return nil
	}
	client, err := v.client()
	if err != nil {
		return fmt.Errorf("detach nic %s: %w", name, err)
	}
	if r := client.Do(ctx, setLink(false)); r[0].Err != nil {
		return fmt.Errorf("detach nic %s: %w", name, v.orGone(r[0].Err))
	}
	if err := v.res.tap.Leave(ctx); err != nil {
		return fmt.Errorf("detach nic %s: %w", name, err)
	}
	v.nic.name = ""
	return nil
}
