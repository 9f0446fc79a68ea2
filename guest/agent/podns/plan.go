package podns

import (
	"net"
	"net/netip"
	"slices"
)

// Interface is one network interface of a pod.
type Interface struct {
	Name    string           // what the pod sees
	BootMAC net.HardwareAddr // how the NIC is found
	MAC     net.HardwareAddr // nil: keep
	MTU     int              // 0: keep
	Addrs   []netip.Prefix
	Routes  []Route
}

// Route is one route of a pod.
type Route struct {
	Dst     netip.Prefix
	Gateway netip.Addr // invalid: on link
	MTU     int        // 0: the interface's
	Metric  int
}

// plan returns the interface's routes in an order in which each can be added: on-link
// ones first, and before a route by a gateway that no address or route reaches, an
// on-link route to that gateway. CNI plugins give such gateways ("169.254.1.1").
func plan(i Interface) []Route {
	var out, via []Route
	reach := slices.Clone(i.Addrs)
	for _, r := range i.Routes {
		if r.Gateway.IsValid() {
			via = append(via, r)
			continue
		}
		out = append(out, r)
		reach = append(reach, r.Dst)
	}
	for _, r := range via {
		covers := func(p netip.Prefix) bool { return p.Masked().Contains(r.Gateway) }
		if !slices.ContainsFunc(reach, covers) && (r.Gateway.Is4() || !r.Gateway.IsLinkLocalUnicast()) {
			host := netip.PrefixFrom(r.Gateway, r.Gateway.BitLen())
			out = append(out, Route{Dst: host})
			reach = append(reach, host)
		}
		out = append(out, r)
	}
	return out
}
