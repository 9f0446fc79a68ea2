package hcsvm

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/sandbox"
)

// maxNICs is what Hyper-V gives a VM.
const maxNICs = 8

// nics are the hot-added NICs of a VM.
type nics struct {
	mu     sync.Mutex // guards byName
	byName map[string]*nic
}

// nic is a NIC that is attached, or about to be.
type nic struct {
	busy     bool
	settings hcs.NetworkAdapter // set while busy, by who made it so
}

func (n *nics) reserve(name string) (*nic, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.byName[name] != nil:
		return nil, fmt.Errorf("nic is attached: %w", errdefs.ErrAlreadyExists)
	case len(n.byName) >= maxNICs:
		return nil, fmt.Errorf("vm has %d nics: %w", len(n.byName), errdefs.ErrResourceExhausted)
	}
	k := &nic{busy: true}
	n.byName[name] = k
	return k, nil
}

// take marks a NIC busy for its detaching; nil when there is none.
func (n *nics) take(name string) (*nic, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.byName[name]
	if k == nil {
		return nil, nil
	}
	if k.busy {
		return nil, fmt.Errorf("nic is being changed: %w", errdefs.ErrFailedPrecondition)
	}
	k.busy = true
	return k, nil
}

func (n *nics) settle(name string, there bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if there {
		n.byName[name].busy = false
		return
	}
	delete(n.byName, name)
}

// AttachNIC implements sandbox.VM.
func (v *VM) AttachNIC(ctx context.Context, n sandbox.NIC) (sandbox.NICInfo, error) {
	info, err := v.attachNIC(ctx, n)
	if err != nil {
		return sandbox.NICInfo{}, fmt.Errorf("attach nic %s: %w", n.Name, err)
	}
	return info, nil
}

func (v *VM) attachNIC(ctx context.Context, n sandbox.NIC) (sandbox.NICInfo, error) {
	if n.Name == "" || n.Namespace == "" || n.Interface == "" {
		return sandbox.NICInfo{}, fmt.Errorf("name, namespace and interface are needed: %w", errdefs.ErrInvalidArgument)
	}
	var info sandbox.NICInfo
	err := v.change(ctx, func(ctx context.Context) error {
		if v.driver.Endpoint == nil {
			return fmt.Errorf("this driver was given no networks: %w", errdefs.ErrNotImplemented)
		}
		k, err := v.nics.reserve(n.Name)
		if err != nil {
			return err
		}
		e, err := v.driver.Endpoint(ctx, n.Namespace, n.Interface)
		if err == nil && len(e.MAC) != 6 {
			err = fmt.Errorf("endpoint %s has the MAC %q: %w", e.ID, e.MAC, errdefs.ErrInternal)
		}
		if err == nil {
			info.MAC = e.MAC.String()
			k.settings = hcs.NetworkAdapter{
				EndpointId: strings.ToLower(e.ID),
				MacAddress: strings.ToUpper(strings.ReplaceAll(info.MAC, ":", "-")),
			}
			err = v.modifyNIC(ctx, hcs.RequestAdd, n.Name, k)
		}
		v.nics.settle(n.Name, err == nil)
		return err
	}, func(ctx context.Context) {
		if err := v.detachNIC(ctx, n.Name); err != nil {
			v.log("a NIC that nobody waits for was not detached", err)
		}
	})
	if err != nil { // info may still be written
		return sandbox.NICInfo{}, err
	}
	return info, nil
}

// DetachNIC implements sandbox.VM.
func (v *VM) DetachNIC(ctx context.Context, name string) error {
	err := v.change(ctx, func(ctx context.Context) error { return v.detachNIC(ctx, name) }, nil)
	if err != nil {
		return fmt.Errorf("detach nic %s: %w", name, err)
	}
	return nil
}

func (v *VM) detachNIC(ctx context.Context, name string) error {
	k, err := v.nics.take(name)
	if k == nil || err != nil {
		return err
	}
	err = v.modifyNIC(ctx, hcs.RequestRemove, name, k)
	if hcs.HasCode(err, hcs.ElementNotFound) {
		err = nil
	}
	v.nics.settle(name, err != nil)
	return err
}

func (v *VM) modifyNIC(ctx context.Context, verb, name string, k *nic) error {
	return v.system.Modify(ctx, hcs.ModifyRequest{
		ResourcePath: hcs.NetworkAdapterPath(nicID(v.id, name)), RequestType: verb, Settings: k.settings,
	})
}
