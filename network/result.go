package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// mainTable is the routing table that a pod sees.
const mainTable = 254

// convert reads a plugin's result. What it leaves open is for NIC.complete.
func convert(res *types100.Result) (Result, error) {
	nic := NIC{Name: interfaceName, Interface: interfaceName}
	index := slices.IndexFunc(res.Interfaces, func(i *types100.Interface) bool {
		return i != nil && i.Sandbox != "" && i.Name == interfaceName
	})
	if index >= 0 {
		i := res.Interfaces[index]
		if i.Mac != "" {
			mac, err := net.ParseMAC(i.Mac)
			if err != nil {
				return Result{}, fmt.Errorf("MAC of %s: %w", i.Name, err)
			}
			nic.MAC = mac.String()
		}
		if i.Mtu < 0 {
			return Result{}, fmt.Errorf("MTU of %s is %d", i.Name, i.Mtu)
		}
		nic.MTU = i.Mtu
	}
	var r Result
	var gateways []netip.Addr
	for n, ip := range res.IPs {
		if ip == nil {
			return Result{}, fmt.Errorf("address %d is null", n)
		}
		if ip.Interface != nil && (*ip.Interface < 0 || *ip.Interface >= len(res.Interfaces)) {
			return Result{}, fmt.Errorf("address %s is on interface %d of %d", ip.Address.String(), *ip.Interface, len(res.Interfaces))
		}
		if ip.Interface != nil && *ip.Interface != index {
			continue // on the host's end or a further interface
		}
		addr, err := Prefix(ip.Address)
		if err != nil {
			return Result{}, fmt.Errorf("address %d: %w", n, err)
		}
		nic.Addresses = append(nic.Addresses, addr.String())
		r.IPs = append(r.IPs, addr.Addr().String())
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok {
			gateways = append(gateways, gw.Unmap())
		}
	}
	if len(r.IPs) == 0 {
		return Result{}, errors.New("it has no address for " + interfaceName)
	}
	var err error
	if nic.Routes, err = ConvertRoutes(res.Routes, gateways); err != nil {
		return Result{}, err
	}
	r.NICs = []NIC{nic}
	r.DNS = ConvertDNS(res.DNS)
	return r, nil
}

// ConvertDNS reads the DNS part of a plugin's result: the domain is searched first.
// Empty words, which some plugins print for "none", are left out.
func ConvertDNS(from types.DNS) DNS {
	empty := func(s string) bool { return s == "" }
	d := DNS{
		Servers: slices.DeleteFunc(slices.Clone(from.Nameservers), empty),
		Search:  slices.DeleteFunc(slices.Clone(from.Search), empty),
		Options: slices.DeleteFunc(slices.Clone(from.Options), empty),
	}
	if from.Domain != "" && !slices.Contains(d.Search, from.Domain) {
		d.Search = append([]string{from.Domain}, d.Search...)
	}
	return d
}

// ConvertRoutes reads the routes of a plugin's result. One without a gateway goes through
// that of an address, the first of gateways of its family, as CNI says. Routes of tables
// that a pod does not use are left out.
func ConvertRoutes(list []*types.Route, gateways []netip.Addr) ([]Route, error) {
	var routes []Route
	for n, from := range list {
		if from == nil {
			return nil, fmt.Errorf("route %d is null", n)
		}
		if from.Table != nil && *from.Table != 0 && *from.Table != mainTable {
			continue
		}
		route, err := convertRoute(from, gateways)
		if err != nil {
			return nil, fmt.Errorf("route %d: %w", n, err)
		}
		routes = append(routes, route)
	}
	return routes, nil
}

func convertRoute(from *types.Route, gateways []netip.Addr) (Route, error) {
	dst, err := Prefix(from.Dst)
	if err != nil {
		return Route{}, err
	}
	if from.MTU < 0 || from.Priority < 0 {
		return Route{}, fmt.Errorf("to %s: MTU %d, priority %d", dst, from.MTU, from.Priority)
	}
	route := Route{Destination: dst.Masked().String(), MTU: from.MTU, Metric: from.Priority}
	const scopeLink = 253
	switch gw, ok := netip.AddrFromSlice(from.GW); {
	case ok:
		gw = gw.Unmap()
		if gw.Is4() != dst.Addr().Is4() {
			return Route{}, fmt.Errorf("to %s: gateway %s is of the other family", dst, gw)
		}
		route.Gateway = gw.String()
	case len(from.GW) > 0:
		return Route{}, fmt.Errorf("to %s: gateway of %d bytes", dst, len(from.GW))
	case from.Scope != nil && *from.Scope == scopeLink:
	default:
		// The CNI specification: without a gateway, that of the address counts.
		for _, gw := range gateways {
			if gw.Is4() == dst.Addr().Is4() {
				route.Gateway = gw.String()
				break
			}
		}
	}
	return route, nil
}

// Prefix is n as an address with a prefix length; an IPv4 address is of four bytes.
func Prefix(n net.IPNet) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, fmt.Errorf("%q is no address with a prefix length", n.String())
	}
	addr = addr.Unmap()
	if addr.Is4() && bits == 128 {
		ones -= 96
	}
	if p := netip.PrefixFrom(addr, ones); p.IsValid() {
		return p, nil
	}
	return netip.Prefix{}, fmt.Errorf("%q is no address with a prefix length", n.String())
}

// complete adds what the kernel knows: MAC and MTU that the result left out, and routes
// that plugins made without telling, as Calico and Cilium do.
func (n *NIC) complete(l link) {
	if n.MAC == "" {
		n.MAC = l.mac
	}
	if n.MTU == 0 {
		n.MTU = l.mtu
	}
	n.AddRoutes(l.routes)
}

// AddRoutes adds those of routes to whose destinations the NIC has none, makes each
// gateway reachable, and puts the routes in an order in which they can be added.
func (n *NIC) AddRoutes(routes []Route) {
	for _, k := range routes {
		if !slices.ContainsFunc(n.Routes, func(r Route) bool { return r.Destination == k.Destination }) {
			n.Routes = append(n.Routes, k)
		}
	}
	n.reachGateways()
	// A gateway can only be named when it is reachable: on-link routes come first.
	slices.SortStableFunc(n.Routes, func(a, b Route) int {
		return boolInt(a.Gateway != "") - boolInt(b.Gateway != "")
	})
}

// reachGateways adds an on-link route to each gateway that no address and no route
// makes reachable.
func (n *NIC) reachGateways() {
	var onLink []netip.Prefix
	for _, a := range n.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil {
			onLink = append(onLink, p)
		}
	}
	for _, r := range n.Routes {
		if p, err := netip.ParsePrefix(r.Destination); err == nil && r.Gateway == "" && p.Bits() > 0 {
			onLink = append(onLink, p)
		}
	}
	for _, r := range slices.Clone(n.Routes) {
		gw, err := netip.ParseAddr(r.Gateway)
		if err != nil || gw.IsLinkLocalUnicast() && gw.Is6() {
			continue
		}
		if !slices.ContainsFunc(onLink, func(p netip.Prefix) bool { return p.Contains(gw) }) {
			host := netip.PrefixFrom(gw, gw.BitLen())
			onLink = append(onLink, host)
			n.Routes = append(n.Routes, Route{Destination: host.String()})
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
