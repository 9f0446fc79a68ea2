package hnsfake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// networkDoc and endpointDoc are what of HCN's schema 2 the fake takes; a key that is
// not here is refused.
type networkDoc struct {
	Name     string
	Type     string
	Policies []hcnnet.Policy
	MacPool  any
	Dns      hcnnet.DNS
	Ipams    []struct {
		Type    string
		Subnets []struct {
			IpAddressPrefix string
			Policies        []json.RawMessage
			Routes          []hcnnet.Route
			Flags           uint32
		}
	}
	Flags         uint32
	Health        any // the library sends it, empty
	SchemaVersion schema
}

type endpointDoc struct {
	Name               string
	HostComputeNetwork string
	Policies           []hcnnet.Policy
	IpConfigurations   []hcnnet.IPConfig
	Dns                hcnnet.DNS
	Routes             []hcnnet.Route
	MacAddress         string
	Flags              uint32
	Health             any
	SchemaVersion      schema
}

type schema struct{ Major, Minor int }

// notPersistent is the flag EnableNonPersistent of a network.
const notPersistent = 8

var (
	networkTypes = []string{"NAT", "Transparent", "L2Bridge", "L2Tunnel", "ICS", "Private", "Overlay"}
	policyTypes  = []string{"PortMapping", "ACL", "QOS", "L2Driver", "OutBoundNAT", "SDNRoute", "L4Proxy", "L4WFPPROXY", "PortName", "EncapOverhead", "Iov", "ProviderAddress", "InterfaceConstraint", "TierAcl"}
	macText      = regexp.MustCompile(`^([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}$`)
)

func strict(doc string, v any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(doc)))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// CreateNetwork makes a network of a document of HCN's schema 2 and returns its id.
func (h *HNS) CreateNetwork(doc string) (string, error) {
	defer h.leave()
	if err := h.enter("CreateNetwork", ""); err != nil {
		return "", err
	}
	refuse := func(code uint32, format string, args ...any) (string, error) {
		return "", hcnnet.NewError("CreateNetwork", "", code, fmt.Sprintf(format, args...))
	}
	var d networkDoc
	if err := strict(doc, &d); err != nil {
		return refuse(badJSON, "%v", err)
	}
	if d.SchemaVersion.Major != 2 || d.Name == "" || !slices.Contains(networkTypes, d.Type) {
		return refuse(badNetwork, "schema, name or type")
	}
	for _, n := range h.networks {
		if n.Name == d.Name {
			return refuse(0x803b0010, "name %s", d.Name)
		}
	}
	n := &net{Network: hcnnet.Network{ID: h.newID(), Name: d.Name, Type: d.Type}, persistent: d.Flags&notPersistent == 0}
	for _, ipam := range d.Ipams {
		for _, s := range ipam.Subnets {
			p, err := netip.ParsePrefix(s.IpAddressPrefix)
			if err != nil || p != p.Masked() {
				return refuse(badIP, "subnet %q", s.IpAddressPrefix)
			}
			gateway := ""
			for _, r := range s.Routes {
				gateway = r.NextHop
			}
			n.Subnets, n.gateways = append(n.Subnets, s.IpAddressPrefix), append(n.gateways, gateway)
		}
	}
	h.networks[n.ID] = n
	return n.ID, nil
}

// CreateEndpoint makes an endpoint on a network of a document of HCN's schema 2, as
// plugins do, and returns it with what HNS fills in: MAC, prefix lengths, routes through
// the subnet's gateway, and the host's DNS servers where none are given.
func (h *HNS) CreateEndpoint(network, doc string) (hcnnet.Endpoint, error) {
	defer h.leave()
	if err := h.enter("CreateEndpoint", ""); err != nil {
		return hcnnet.Endpoint{}, err
	}
	refuse := func(code uint32, format string, args ...any) (hcnnet.Endpoint, error) {
		return hcnnet.Endpoint{}, hcnnet.NewError("CreateEndpoint", "", code, fmt.Sprintf(format, args...))
	}
	n := h.networks[strings.ToLower(network)]
	if n == nil {
		return refuse(noNetwork, "%s", network)
	}
	var d endpointDoc
	if err := strict(doc, &d); err != nil {
		return refuse(badJSON, "%v", err)
	}
	if d.SchemaVersion.Major != 2 || !strings.EqualFold(d.HostComputeNetwork, n.ID) {
		return refuse(badEndpoint, "schema or network")
	}
	h.next++
	if d.MacAddress == "" {
		d.MacAddress = fmt.Sprintf("00-15-5D-00-%02X-%02X", h.next>>8&0xff, h.next&0xff)
	}
	if !macText.MatchString(d.MacAddress) {
		return refuse(badEndpoint, "MAC %q", d.MacAddress)
	}
	e := &endpoint{ports: make(map[string]bool), Endpoint: hcnnet.Endpoint{
		Name: d.Name, Network: n.ID, MAC: d.MacAddress, DNS: d.Dns, Routes: d.Routes, Policies: d.Policies,
	}}
	for _, c := range d.IpConfigurations {
		filled, err := h.place(n, c)
		if err != nil {
			return hcnnet.Endpoint{}, err
		}
		e.Addresses = append(e.Addresses, filled)
	}
	for _, r := range d.Routes {
		if p, err := netip.ParsePrefix(r.Destination); err != nil || p != p.Masked() {
			return refuse(badIP, "route to %q", r.Destination)
		}
		if _, err := netip.ParseAddr(r.NextHop); r.NextHop != "" && err != nil {
			return refuse(badIP, "next hop %q", r.NextHop)
		}
	}
	if len(e.Routes) == 0 {
		e.Routes = n.defaultRoutes()
	}
	if len(e.DNS.Servers) == 0 {
		e.DNS.Servers = []string{"192.0.2.53"}
	}
	if code, text := h.takePorts(e); code != 0 {
		return refuse(code, "%s", text)
	}
	e.ID = h.newID()
	h.endpoints[e.ID] = e
	return e.Endpoint, nil
}

// place checks an address and gives it its subnet's prefix length.
func (h *HNS) place(n *net, c hcnnet.IPConfig) (hcnnet.IPConfig, error) {
	addr, err := netip.ParseAddr(c.Address)
	if err != nil {
		return c, hcnnet.NewError("CreateEndpoint", "", badIP, c.Address)
	}
	for _, e := range h.endpoints {
		if e.Network == n.ID && slices.ContainsFunc(e.Addresses, func(o hcnnet.IPConfig) bool { return o.Address == c.Address }) {
			return c, hcnnet.NewError("CreateEndpoint", "", badAddress, c.Address+" is taken")
		}
	}
	for i, s := range n.Subnets {
		p := netip.MustParsePrefix(s)
		if !p.Contains(addr) {
			continue
		}
		if n.gateways[i] == c.Address {
			return c, hcnnet.NewError("CreateEndpoint", "", badAddress, c.Address+" is the gateway")
		}
		if c.PrefixLength == 0 {
			c.PrefixLength = uint8(p.Bits())
		}
		return c, nil
	}
	return c, hcnnet.NewError("CreateEndpoint", "", badAddress, c.Address+" is in no subnet")
}

func (n *net) defaultRoutes() []hcnnet.Route {
	var out []hcnnet.Route
	for _, gw := range n.gateways {
		switch addr, err := netip.ParseAddr(gw); {
		case err != nil:
		case addr.Is4():
			out = append(out, hcnnet.Route{Destination: "0.0.0.0/0", NextHop: gw})
		default:
			out = append(out, hcnnet.Route{Destination: "::/0", NextHop: gw})
		}
	}
	return out
}

// takePorts checks policies and takes the host ports that they map.
func (h *HNS) takePorts(e *endpoint) (code uint32, text string) {
	for _, p := range e.Policies {
		if !slices.Contains(policyTypes, p.Type) {
			return badPolicyType, p.Type
		}
		if p.Type != "PortMapping" {
			continue
		}
		var m struct {
			Protocol                   uint32
			InternalPort, ExternalPort uint16
			VIP                        string
			Flags                      uint32
		}
		if err := strict(string(p.Settings), &m); err != nil || m.InternalPort == 0 || m.Protocol != 6 && m.Protocol != 17 {
			return badPolicy, fmt.Sprintf("PortMapping %s", p.Settings)
		}
		port := fmt.Sprintf("%d/%d", m.Protocol, m.ExternalPort)
		for _, other := range h.endpoints {
			if other.ports[port] {
				return portTaken, port
			}
		}
		e.ports[port] = true
	}
	return 0, ""
}
