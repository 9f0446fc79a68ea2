package hcsemu

import (
	"encoding/json"
	"fmt"
	"testing"
)

// TestSettle: an endpoint whose VM is known last takes the address of a NIC that waits there, keeps it, and leaves
// it to another when it is gone.
func TestSettle(t *testing.T) {
	s, _ := newService(t)
	network, err := s.hns.CreateNetwork(`{"Name":"n","Type":"L2Bridge","SchemaVersion":{"Major":2},"Ipams":[{"Subnets":[{"IpAddressPrefix":"10.0.0.0/24"}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	vm := &machine{id: vmID, nics: []*nic{{}, {}}}
	s.machines.mu.Lock()
	s.machines.byID[vmID] = vm
	s.machines.mu.Unlock()
	defer func() {
		s.machines.mu.Lock()
		delete(s.machines.byID, vmID)
		s.machines.mu.Unlock()
	}()
	s.mu.Lock()
	s.started["7"] = vmID
	s.mu.Unlock()
	shim, other := &session{pid: "7"}, &session{pid: "8"}
	endpoint := func(pod int) string {
		t.Helper()
		out, code := s.hcn(other, "HcnCreate", []string{kindEndpoint, network, fmt.Sprintf(
			`{"Name":"%032x_n","HostComputeNetwork":%q,"SchemaVersion":{"Major":2}}`, pod, network)})
		if code.Failed() {
			t.Fatalf("HcnCreate = %s %q", code, out)
		}
		return out[0]
	}
	address := func(p *session, id string) string {
		t.Helper()
		out, code := s.hcn(p, "HcnQuery", []string{kindEndpoint, id, "{}"})
		var e struct{ MacAddress string }
		if code.Failed() || json.Unmarshal([]byte(out[0]), &e) != nil {
			t.Fatalf("HcnQuery = %s %q", code, out)
		}
		return e.MacAddress
	}
	one, two, three := endpoint(1), endpoint(2), endpoint(3)
	if got, want := address(other, one), NICAddress(fmt.Sprintf("%032x", 1), 0); got != want {
		t.Errorf("the address for a process without a VM is %s, want %s", got, want)
	}
	for range 2 {
		if a, b := address(shim, one), address(shim, two); a != NICAddress(vmID, 0) || b != NICAddress(vmID, 1) {
			t.Errorf("addresses for the VM's process are %s and %s", a, b)
		}
	}
	if got, want := address(shim, three), NICAddress(fmt.Sprintf("%032x", 3), 0); got != want {
		t.Errorf("the address of an endpoint for which no NIC is left is %s, want %s", got, want)
	}
	if got := address(other, two); got != NICAddress(vmID, 1) {
		t.Errorf("the address that an endpoint has got is %s for another process", got)
	}
	if out, code := s.hcn(other, "HcnDelete", []string{kindEndpoint, one, ""}); code.Failed() {
		t.Fatalf("HcnDelete = %s %q", code, out)
	}
	if got := address(shim, three); got != NICAddress(vmID, 0) {
		t.Errorf("the address after another endpoint has gone is %s", got)
	}
}
