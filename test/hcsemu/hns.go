package hcsemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// The kinds of HCN's objects.
const (
	kindNetwork   = "Network"
	kindEndpoint  = "Endpoint"
	kindNamespace = "Namespace"
)

// Errors of HCN as the DLL returns them: the code, and a document that says why.
func hnsFailure(err error) ([]string, hcs.HRESULT) {
	code := uint32(hcs.Fail)
	if e := new(hcnnet.Error); errors.As(err, &e) && e.Code != 0 {
		if code = e.Code; code < 1<<31 {
			code |= 0x80070000 // of facility Win32
		}
	}
	b, _ := json.Marshal(map[string]any{"Success": false, "Error": err.Error(), "ErrorCode": code})
	return []string{"", string(b)}, hcs.HRESULT(code)
}

// CreateNetwork makes a network of a document of HCN's schema 2, with a bridge that has its
// gateways' addresses, and returns its id.
func (s *Service) CreateNetwork(document string) (string, error) {
	id, err := s.hns.CreateNetwork(document)
	if err != nil {
		return "", err
	}
	n, err := s.hns.Network(id)
	if err == nil {
		var addresses []string
		for i, gateway := range s.hns.Gateways(id) {
			if p, perr := netip.ParsePrefix(n.Subnets[i]); perr == nil && gateway != "" {
				addresses = append(addresses, fmt.Sprintf("%s/%d", gateway, p.Bits()))
			}
		}
		err = makeBridge(bridgeName(id), addresses)
	}
	if err != nil {
		return "", errors.Join(err, s.hns.DeleteNetwork(id))
	}
	return id, nil
}

// bridgeName is the interface behind a network.
func bridgeName(network string) string { return "hns" + network[len(network)-8:] }

// hcn makes one call of computenetwork.dll: a kind, and two arguments.
func (s *Service) hcn(p *session, name string, a []string) ([]string, hcs.HRESULT) {
	var out string
	var err error
	kind, first, second := a[0], a[1], a[2]
	switch name {
	case "HcnOpen":
		out, err = first, s.hcnThere(kind, first)
	case "HcnCreate":
		out, err = s.hcnCreate(kind, first, second)
	case "HcnDelete":
		err = s.hcnDelete(kind, first)
	case "HcnQuery":
		if kind == kindEndpoint {
			s.settle(p, first)
		}
		out, err = s.hcnQuery(kind, first)
	case "HcnEnumerate":
		out, err = s.hcnEnumerate(kind, first)
	case "HcnModify":
		err = s.hcnModify(kind, first, second)
	}
	if err != nil {
		s.log.Debug("call failed", "call", name, "arguments", a, "error", err)
		return hnsFailure(err)
	}
	return []string{out, ""}, hcs.OK
}

func notImplemented(op, id string) error {
	return hcnnet.NewError(op, id, uint32(hcs.NotImplemented), "the emulator has no such call")
}

func (s *Service) hcnThere(kind, id string) error {
	_, err := s.hcnQuery(kind, id)
	return err
}

// podID is what the names of endpoints of pods begin with.
var podID = regexp.MustCompile(`^[0-9a-f]{32}`)

func (s *Service) hcnCreate(kind, id, settings string) (string, error) {
	switch kind {
	case kindNetwork:
		return s.CreateNetwork(settings)
	case kindEndpoint:
		return s.hcnCreateEndpoint(id, settings)
	}
	var d struct {
		ID            string
		Type          string
		NamespaceId   uint32
		Resources     []any
		SchemaVersion hcnnet.Version
	}
	if err := json.Unmarshal([]byte(settings), &d); err != nil || d.SchemaVersion.Major != 2 {
		return "", hcnnet.NewError("CreateNamespace", id, 0x803b001b, settings)
	}
	return s.hns.CreateNamespace(d.ID)
}

// hcnCreateEndpoint gives a pod's endpoint the address of a NIC that waits in the VM of that
// pod; others get what HNS gives, and settle may change either.
func (s *Service) hcnCreateEndpoint(network, settings string) (string, error) {
	var d map[string]any
	if err := json.Unmarshal([]byte(settings), &d); err != nil {
		return "", hcnnet.NewError("CreateEndpoint", "", 0x803b001b, err.Error())
	}
	name, _ := d["Name"].(string)
	if pod := podID.FindString(name); pod != "" && d["MacAddress"] == nil {
		all, err := s.hns.Endpoints()
		if err != nil {
			return "", err
		}
		n := 0
		for _, e := range all {
			if strings.HasPrefix(e.Name, pod) {
				n++
			}
		}
		d["MacAddress"] = NICAddress(pod, n)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	e, err := s.hns.CreateEndpoint(network, string(b))
	return e.ID, err
}

func (s *Service) hcnDelete(kind, id string) error {
	switch kind {
	case kindNetwork:
		if err := s.hns.DeleteNetwork(id); err != nil {
			return err
		}
		return removeBridge(bridgeName(id))
	case kindEndpoint:
		s.mu.Lock()
		delete(s.macs, strings.ToLower(id))
		s.mu.Unlock()
		return s.hns.DeleteEndpoint(id)
	}
	return s.hns.DeleteNamespace(id)
}

// hcnQuery is an object's document.
func (s *Service) hcnQuery(kind, id string) (string, error) {
	var v any
	var err error
	version := hcnnet.Version{Major: 2}
	switch kind {
	case kindNetwork:
		var n hcnnet.Network
		n, err = s.hns.Network(id)
		var subnets []any
		for _, p := range n.Subnets {
			subnets = append(subnets, map[string]any{"IpAddressPrefix": p})
		}
		v = map[string]any{"ID": n.ID, "Name": n.Name, "Type": n.Type, "Ipams": []any{map[string]any{"Type": "Static", "Subnets": subnets}}, "SchemaVersion": version}
	case kindEndpoint:
		var e hcnnet.Endpoint
		e, err = s.hns.Endpoint(id)
		s.mu.Lock()
		if mac := s.macs[strings.ToLower(e.ID)]; mac != "" {
			e.MAC = mac
		}
		s.mu.Unlock()
		v = struct {
			hcnnet.Endpoint
			SchemaVersion hcnnet.Version
		}{e, version}
	default:
		var ids []string
		ids, err = s.hns.NamespaceEndpoints(id)
		resources := []any{}
		for _, e := range ids {
			data := map[string]any{"Id": e}
			resources = append(resources, map[string]any{"Type": "Endpoint", "Data": data})
		}
		v = map[string]any{"ID": id, "Type": "HostDefault", "Resources": resources, "SchemaVersion": version}
	}
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// hcnEnumerate lists the ids of a kind that a query's filter lets through.
func (s *Service) hcnEnumerate(kind, query string) (string, error) {
	var q struct {
		SchemaVersion hcnnet.Version
		Flags         uint32
		Filter        string
	}
	filter := map[string]string{}
	err := json.Unmarshal([]byte(query), &q)
	if err == nil && q.Filter != "" {
		err = json.Unmarshal([]byte(q.Filter), &filter)
	}
	if err != nil {
		return "", hcnnet.NewError("Enumerate", "", 0x803b001b, err.Error())
	}
	ids := []string{}
	keep := func(id, name, network string) {
		for key, want := range filter {
			have := map[string]string{"ID": id, "Name": name, "VirtualNetwork": network}[key]
			if !strings.EqualFold(have, want) {
				return
			}
		}
		ids = append(ids, id)
	}
	switch kind {
	case kindNetwork:
		var all []hcnnet.Network
		all, err = s.hns.Networks()
		for _, n := range all {
			keep(n.ID, n.Name, "")
		}
	case kindEndpoint:
		var all []hcnnet.Endpoint
		all, err = s.hns.Endpoints()
		for _, e := range all {
			keep(e.ID, e.Name, e.Network)
		}
	default:
		var all []string
		all, err = s.hns.Namespaces()
		for _, id := range all {
			keep(id, "", "")
		}
	}
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(ids)
	return string(b), err
}

func (s *Service) hcnModify(kind, id, settings string) error {
	var m struct {
		ResourceType, RequestType string
		Settings                  struct{ EndpointId string }
	}
	if err := json.Unmarshal([]byte(settings), &m); err != nil {
		return hcnnet.NewError("Modify"+kind, id, 0x803b001b, err.Error())
	}
	switch {
	case kind == kindNamespace && m.ResourceType == "Endpoint" && m.RequestType == "Add":
		return s.hns.AddEndpoint(id, m.Settings.EndpointId)
	case kind == kindNamespace && m.ResourceType == "Endpoint" && m.RequestType == "Remove":
		return s.hns.RemoveEndpoint(id, m.Settings.EndpointId)
	}
	return notImplemented("Modify"+kind, id)
}

// hnsCall makes one call of HNS's older interface.
func (s *Service) hnsCall(method, path string) ([]string, hcs.HRESULT) {
	var out any
	var err error
	id, stats := strings.CutPrefix(path, "/endpointstats/")
	switch {
	case method == "GET" && path == "/globals/version":
		out, err = s.hns.Version()
	case method == "GET" && stats:
		out, err = s.endpointStats(id)
	default:
		err = notImplemented(method+" "+path, "")
	}
	answer := map[string]any{"Success": err == nil, "Output": out}
	if err != nil {
		answer["Error"] = err.Error()
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return nil, hcs.Fail
	}
	return []string{string(b)}, hcs.OK
}

// endpointStats are the counters of the tap that an endpoint is plugged into.
func (s *Service) endpointStats(id string) (any, error) {
	id = strings.ToLower(id)
	st, err := s.hns.EndpointStats(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	tap := s.taps[id]
	s.mu.Unlock()
	if tap != "" {
		if st, err = counters(tap); err != nil {
			return nil, err
		}
	}
	return map[string]any{
		"EndpointId": id, "BytesReceived": st.BytesReceived, "BytesSent": st.BytesSent, "PacketsReceived": st.PacketsReceived,
		"PacketsSent": st.PacketsSent, "DroppedPacketsIncoming": st.DroppedIncoming, "DroppedPacketsOutgoing": st.DroppedOutgoing,
	}, nil
}

// join plugs an endpoint into a VM by its tap.
func (s *Service) join(endpoint, tap string) error {
	e, err := s.hns.Endpoint(endpoint)
	if err != nil {
		return err
	}
	if err := toBridge(tap, bridgeName(e.Network)); err != nil {
		return err
	}
	s.mu.Lock()
	s.taps[strings.ToLower(endpoint)] = tap
	s.mu.Unlock()
	return nil
}

// part unplugs what is in a tap.
func (s *Service) part(tap string) error {
	s.mu.Lock()
	for e, t := range s.taps {
		if t == tap {
			delete(s.taps, e)
		}
	}
	s.mu.Unlock()
	return fromBridge(tap)
}
