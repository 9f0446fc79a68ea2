package hcsemu

import (
	"context"
	"errors"
	"fmt"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/network/tapnet"
)

// nic is one of the NICs that a VM has from the start.
type nic struct {
	tap *tapnet.Tap
	id  string // in the document; empty: it waits. Guarded by the machine's mu.
}

func (v *machine) makeNICs() ([]*nic, error) {
	var out []*nic
	for i := range waitingNICs {
		t, err := tapnet.Create(tapnet.Name(fmt.Sprintf("%s/%d", v.id, i)))
		if err != nil {
			for _, n := range out {
				err = errors.Join(err, n.tap.Remove())
			}
			return nil, err
		}
		out = append(out, &nic{tap: t})
	}
	return out, nil
}

func (v *machine) removeNICs() {
	for _, n := range v.nics {
		if err := n.tap.Remove(); err != nil {
			v.service.log.Warn("a tap was not removed", "vm", v.id, "error", err)
		}
	}
}

// Plug implements hcsfake.Machine.
func (m *machines) Plug(id, nicID, endpoint, mac string) error {
	v, err := m.get(id)
	if err != nil {
		return err
	}
	at := -1
	v.mu.Lock()
	for i, n := range v.nics {
		if n.id == "" && NICAddress(id, i) == mac {
			at, n.id = i, nicID
		}
	}
	v.mu.Unlock()
	if at < 0 {
		return &hcsfake.MachineError{Code: hcs.InvalidArgument, Text: fmt.Sprintf(
			"the emulator's VM has no free NIC with the address %s: it hot-adds none, and has some for endpoints of its own pod alone", mac)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	err = m.service.join(endpoint, v.nics[at].tap.Name())
	if err == nil {
		err = v.do(ctx, setLink(at, true))
	}
	if err != nil {
		err = errors.Join(err, m.service.part(v.nics[at].tap.Name()))
		v.free(at)
	}
	return err
}

// Unplug implements hcsfake.Machine.
func (m *machines) Unplug(id, nicID string) error {
	v, err := m.get(id)
	if err != nil {
		return err
	}
	v.mu.Lock()
	at := -1
	for i, n := range v.nics {
		if n.id == nicID {
			at = i
		}
	}
	v.mu.Unlock()
	if at < 0 {
		return &hcsfake.MachineError{Code: hcs.ElementNotFound, Text: "no such NIC"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	if err := v.do(ctx, setLink(at, false)); err != nil {
		return err
	}
	if err := m.service.part(v.nics[at].tap.Name()); err != nil {
		return err
	}
	v.free(at)
	return nil
}

func (v *machine) free(at int) {
	v.mu.Lock()
	v.nics[at].id = ""
	v.mu.Unlock()
}
