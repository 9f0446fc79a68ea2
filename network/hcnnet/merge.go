package hcnnet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/porthole-run/porthole/network"
)

const (
	// defaultMTU is that of a Hyper-V adapter.
	defaultMTU = 1500
	// vxlanOverhead is what an overlay network's encapsulation takes of a packet.
	vxlanOverhead = 50
	// minMTU is the least that IPv6 works with.
	minMTU = 1280
)

// attachment is an endpoint with the network it is on.
type attachment struct {
	Endpoint
	network Network
}

// merge makes a pod's network of the plugins' result and the endpoints that HNS holds.
//
//   - NICs: one an endpoint, named eth0, eth1 …: first the endpoint that has the result's
//     first address, then those whose names end in "eth0", then by name and id.
//   - MAC, addresses: the endpoint's. What the result says of a MAC is not read: some
//     plugins print bytes there that are no text. A prefix length that the endpoint lacks
//     is the result's, else that of the network's subnet around the address.
//   - Routes: the endpoint's; for the first NIC then the result's, to where the endpoint
//     has none; then, for a family of its addresses without a default route, one through
//     the result's gateway. A further NIC gets no route to a destination that a NIC
//     before it has a route to.
//   - MTU: the result's, or what the EncapOverhead policy of the endpoint, or its being on
//     an Overlay network, leaves of 1500; the less of them. 0 when nobody says.
//   - IPs: in the result's order, then further ones of endpoints.
//   - DNS: servers are the result's if it names any, else the endpoints'; so are, each for
//     itself, search domains and options. HNS gives an endpoint for which nobody named
//     servers those of the host: a pod that nobody named servers for gets the host's.
//
// It also returns the result's addresses that no endpoint has.
func merge(added *types100.Result, list []attachment) (r network.Result, unknown []string, err error) {
	told, gateways, err := toldAddresses(added)
	if err != nil {
		return network.Result{}, nil, fmt.Errorf("result of the plugins: %w", err)
	}
	toldRoutes, err := network.ConvertRoutes(added.Routes, gateways)
	if err != nil {
		return network.Result{}, nil, fmt.Errorf("result of the plugins: %w", err)
	}
	order(list, told)
	seen := make(map[string]bool) // destinations
	var all []netip.Addr
	for n, a := range list {
		nic, addrs, err := a.nic(told)
		if err != nil {
			return network.Result{}, nil, fmt.Errorf("endpoint %s (%s) of network %s: %w", a.ID, a.Name, a.network.Name, err)
		}
		nic.Name = "eth" + strconv.Itoa(n)
		var more []network.Route
		if n == 0 {
			if mtu := toldMTU(added); mtu > 0 && (nic.MTU == 0 || mtu < nic.MTU) {
				nic.MTU = mtu
			}
			more = slices.Concat(toldRoutes, defaultRoutes(nic.Routes, toldRoutes, addrs, gateways))
		}
		nic.Routes = slices.DeleteFunc(nic.Routes, func(r network.Route) bool { return seen[r.Destination] })
		nic.AddRoutes(more)
		for _, r := range nic.Routes {
			seen[r.Destination] = true
		}
		all = append(all, addrs...)
		r.NICs = append(r.NICs, nic)
	}
	for _, p := range told {
		if slices.Contains(all, p.Addr()) {
			r.IPs = append(r.IPs, p.Addr().String())
		} else {
			unknown = append(unknown, p.Addr().String())
		}
	}
	for _, a := range all {
		if !slices.Contains(r.IPs, a.String()) {
			r.IPs = append(r.IPs, a.String())
		}
	}
	r.DNS = mergeDNS(network.ConvertDNS(added.DNS), list)
	return r, unknown, nil
}

// toldAddresses returns the addresses and gateways of a result.
func toldAddresses(added *types100.Result) (told []netip.Prefix, gateways []netip.Addr, err error) {
	for n, ip := range added.IPs {
		if ip == nil {
			return nil, nil, fmt.Errorf("address %d is null", n)
		}
		p, err := network.Prefix(ip.Address)
		if err != nil {
			return nil, nil, fmt.Errorf("address %d: %w", n, err)
		}
		told = append(told, p)
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok && !gw.IsUnspecified() {
			gateways = append(gateways, gw.Unmap())
		}
	}
	return told, gateways, nil
}

// toldMTU is the least MTU of a result's interfaces; 0: none is told.
func toldMTU(added *types100.Result) (mtu int) {
	for _, i := range added.Interfaces {
		if i != nil && i.Mtu > 0 && (mtu == 0 || i.Mtu < mtu) {
			mtu = i.Mtu
		}
	}
	return mtu
}

func order(list []attachment, told []netip.Prefix) {
	rank := func(a attachment) int {
		switch {
		case len(told) > 0 && slices.ContainsFunc(a.Addresses, func(c IPConfig) bool {
			addr, err := netip.ParseAddr(c.Address)
			return err == nil && addr.Unmap() == told[0].Addr()
		}):
			return 0
		case strings.HasSuffix(a.Name, "eth0"):
			return 1
		default:
			return 2
		}
	}
	slices.SortFunc(list, func(a, b attachment) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.Name, b.Name), strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID)))
	})
}

// nic is what the endpoint alone says.
func (a attachment) nic(told []netip.Prefix) (network.NIC, []netip.Addr, error) {
	nic := network.NIC{Interface: strings.ToLower(a.ID)}
	mac, err := a.mac()
	if err != nil {
		return network.NIC{}, nil, err
	}
	nic.MAC = mac.String()
	var addrs []netip.Addr
	for _, c := range a.Addresses {
		p, err := a.prefix(c, told)
		if err != nil {
			return network.NIC{}, nil, err
		}
		nic.Addresses = append(nic.Addresses, p.String())
		addrs = append(addrs, p.Addr())
	}
	if len(addrs) == 0 {
		return network.NIC{}, nil, fmt.Errorf("it has no address: pods get addresses from the plugins, not by DHCP: set an ipam in the CNI configuration: %w", errdefs.ErrFailedPrecondition)
	}
	for _, from := range a.Routes {
		r, ok, err := from.convert()
		if err != nil {
			return network.NIC{}, nil, err
		}
		if ok && !slices.ContainsFunc(nic.Routes, func(have network.Route) bool { return have.Destination == r.Destination }) {
			nic.Routes = append(nic.Routes, r)
		}
	}
	nic.MTU, err = a.mtu()
	return nic, addrs, err
}

func (a attachment) prefix(c IPConfig, told []netip.Prefix) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(c.Address)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no address: %w", c.Address, errdefs.ErrInternal)
	}
	addr = addr.Unmap()
	if c.PrefixLength > 0 {
		p := netip.PrefixFrom(addr, int(c.PrefixLength))
		if !p.IsValid() {
			return netip.Prefix{}, fmt.Errorf("%s has a prefix length of %d: %w", addr, c.PrefixLength, errdefs.ErrInternal)
		}
		return p, nil
	}
	for _, p := range told {
		if p.Addr() == addr {
			return p, nil
		}
	}
	for _, s := range a.network.Subnets {
		if p, err := netip.ParsePrefix(s); err == nil && p.Contains(addr) {
			return netip.PrefixFrom(addr, p.Bits()), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("nobody tells the prefix length of %s: %w", addr, errdefs.ErrFailedPrecondition)
}

// convert returns false for a default route without a gateway, which HNS has on
// networks that lead nowhere.
func (r Route) convert() (network.Route, bool, error) {
	p, err := netip.ParsePrefix(r.Destination)
	if err != nil {
		return network.Route{}, false, fmt.Errorf("route to %q: %w: %w", r.Destination, err, errdefs.ErrInternal)
	}
	out := network.Route{Destination: p.Masked().String(), Metric: int(r.Metric)}
	if r.NextHop == "" {
		return out, p.Bits() > 0, nil
	}
	gw, err := netip.ParseAddr(r.NextHop)
	if err != nil || gw.Zone() != "" {
		return network.Route{}, false, fmt.Errorf("route to %s: %q is no gateway: %w", p, r.NextHop, errdefs.ErrInternal)
	}
	gw = gw.Unmap()
	if gw.IsUnspecified() {
		return out, p.Bits() > 0, nil
	}
	if gw.Is4() != p.Addr().Is4() {
		return network.Route{}, false, fmt.Errorf("route to %s: gateway %s is of the other family: %w", p, gw, errdefs.ErrInternal)
	}
	out.Gateway = gw.String()
	return out, true, nil
}

// mtu is what encapsulation leaves; 0: all.
func (a attachment) mtu() (int, error) {
	overhead := 0
	if strings.EqualFold(a.network.Type, "Overlay") {
		overhead = vxlanOverhead
	}
	for _, p := range a.Policies {
		if p.Type != "EncapOverhead" {
			continue
		}
		var s struct{ Overhead uint16 }
		if err := json.Unmarshal(p.Settings, &s); err != nil {
			return 0, fmt.Errorf("policy EncapOverhead: %w: %w", err, errdefs.ErrInternal)
		}
		overhead = int(s.Overhead)
	}
	if overhead > defaultMTU-minMTU {
		return 0, fmt.Errorf("policy EncapOverhead takes %d bytes of %d: %w", overhead, defaultMTU, errdefs.ErrFailedPrecondition)
	}
	if overhead == 0 {
		return 0, nil
	}
	return defaultMTU - overhead, nil
}

// defaultRoutes are those through gateways, for families of addresses that have none.
func defaultRoutes(have, told []network.Route, addrs, gateways []netip.Addr) []network.Route {
	var out []network.Route
	for _, family := range []struct {
		dst string
		is4 bool
	}{{"0.0.0.0/0", true}, {"::/0", false}} {
		is := func(a netip.Addr) bool { return a.Is4() == family.is4 }
		isDefault := func(r network.Route) bool { return r.Destination == family.dst }
		if slices.ContainsFunc(have, isDefault) || slices.ContainsFunc(told, isDefault) || !slices.ContainsFunc(addrs, is) {
			continue
		}
		if i := slices.IndexFunc(gateways, is); i >= 0 {
			out = append(out, network.Route{Destination: family.dst, Gateway: gateways[i].String()})
		}
	}
	return out
}

func mergeDNS(told network.DNS, list []attachment) network.DNS {
	var held network.DNS
	for _, a := range list {
		d := a.DNS
		if d.Domain != "" {
			held.Search = add(held.Search, d.Domain)
		}
		held.Servers = add(held.Servers, d.Servers...)
		held.Search = add(held.Search, d.Search...)
		held.Options = add(held.Options, d.Options...)
	}
	pick := func(first, second []string) []string {
		if out := add(nil, first...); len(out) > 0 {
			return out
		}
		return second
	}
	d := network.DNS{
		Servers: pick(told.Servers, held.Servers), Search: pick(told.Search, held.Search), Options: pick(told.Options, held.Options),
	}
	d.Servers = slices.DeleteFunc(d.Servers, func(s string) bool {
		addr, err := netip.ParseAddr(s)
		return err != nil || addr.IsLoopback() || addr.IsUnspecified() || addr.Zone() != ""
	})
	return d
}

// add adds words that are not in list yet. HNS keeps lists as text with commas in some
// places, and empty words where there is nothing.
func add(list []string, words ...string) []string {
	for _, w := range words {
		for part := range strings.SplitSeq(w, ",") {
			if part = strings.TrimSpace(part); part != "" && !slices.Contains(list, part) {
				list = append(list, part)
			}
		}
	}
	return list
}
