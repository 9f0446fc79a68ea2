package hcsemu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/network/tapnet"
)

// nic is one of the NICs that a VM has from the start.
type nic struct {
	tap *tapnet.Tap

	// Guarded by the machine's mu.
	id       string // in the document; empty: it waits
	endpoint string // that it is kept for; empty: none
}

func (v *machine) makeNICs(n int) ([]*nic, error) {
	var out []*nic
	for i := range n {
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
			"the emulator's VM has no free NIC with the address %s: it hot-adds none, and those that it has are taken", mac)}
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
	v.nics[at].id, v.nics[at].endpoint = "", ""
	v.mu.Unlock()
}

// nicsFor is how many NICs a VM gets.
func (s *Service) nicsFor(id string) int {
	pod := strings.ReplaceAll(id, "-", "")
	if all, err := s.hns.Endpoints(); err == nil && slices.ContainsFunc(all, func(e hcnnet.Endpoint) bool { return strings.HasPrefix(e.Name, pod) }) {
		return ownNICs
	}
	return otherNICs
}

// settle gives an endpoint the address of a NIC that waits in the VM which a process made last, when that process
// asks for the endpoint: a NIC's address is fixed when its VM starts, and which VM of several pods, or of those
// made before any, an endpoint comes to is known only then. On Windows endpoints keep their
// addresses, and NICs take those.
func (s *Service) settle(p *session, endpoint string) {
	s.mu.Lock()
	vm := s.started[p.pid]
	s.mu.Unlock()
	v, err := s.machines.get(vm)
	if err != nil {
		return
	}
	e, err := s.hns.Endpoint(endpoint)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := strings.ToLower(e.ID)
	if s.taps[id] != "" {
		return
	}
	if mac := s.macs[id]; mac != "" {
		e.MAC = mac
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	free := -1
	for i, n := range v.nics {
		if NICAddress(v.id, i) == e.MAC {
			return
		}
		if free < 0 && n.id == "" && !s.keptNIC(n) {
			free = i
		}
	}
	if free >= 0 {
		v.nics[free].endpoint = id
		s.macs[id] = NICAddress(v.id, free)
	}
}

// keptNIC tells whether a NIC is kept for an endpoint that is still there.
func (s *Service) keptNIC(n *nic) bool {
	if n.endpoint == "" {
		return false
	}
	_, err := s.hns.Endpoint(n.endpoint)
	return err == nil
}
