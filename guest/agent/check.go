//go:build linux

package agent

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/api"
)

// Bounds of requests. ttrpc bounds a whole message at 4 MiB.
const (
	maxLayers     = 128
	maxMounts     = 256
	maxInterfaces = 16
	maxRoutes     = 1024
	maxSysctls    = 256
	maxArgs       = 4096
	maxFileBytes  = 1 << 20 // of resolv.conf and hosts
	defaultShm    = 64 << 20
)

// maxID bounds ids, which become names of files.
const maxID = 128

func notInID(r rune) bool {
	return (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && (r < '0' || '9' < r) && r != '_' && r != '.' && r != '-'
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// checkID checks an id that becomes part of paths and cgroup names.
func checkID(field, id string) error {
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, notInID) || id == "." || id == ".." {
		return invalid("%s %q is not 1 to 128 of A-Z a-z 0-9 _ . -", field, id)
	}
	return nil
}

// namespaced are the sysctls that belong to a pod's namespaces.
// It is compiled at its first use: the agent's start is part of each pod's.
var namespaced = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(net\.[A-Za-z0-9_./-]+|kernel\.(shm[a-z_]+|msg[a-z_]+|sem)|fs\.mqueue\.[a-z_]+)$`)
})

func checkPod(r *api.CreatePodRequest) ([]podns.Interface, error) {
	if err := checkID("pod_id", r.PodId); err != nil {
		return nil, err
	}
	if len(r.Hostname) > 64 {
		return nil, invalid("hostname of %d bytes is longer than 64", len(r.Hostname))
	}
	if r.Scratch == nil {
		return nil, invalid("scratch is not set")
	}
	if n := max(len(r.ResolvConf), len(r.Hosts)); n > maxFileBytes {
		return nil, invalid("resolv_conf or hosts of %d bytes is larger than %d", n, maxFileBytes)
	}
	if len(r.Sysctls) > maxSysctls {
		return nil, invalid("%d sysctls are more than %d", len(r.Sysctls), maxSysctls)
	}
	for name := range r.Sysctls {
		if !namespaced().MatchString(name) || strings.Contains(name, "..") {
			return nil, invalid("sysctl %q is not one of a pod's namespaces", name)
		}
	}
	if len(r.Interfaces) > maxInterfaces {
		return nil, invalid("%d interfaces are more than %d", len(r.Interfaces), maxInterfaces)
	}
	var out []podns.Interface
	names := map[string]bool{"lo": true}
	for _, i := range r.Interfaces {
		p, err := checkInterface(i)
		if err != nil {
			return nil, fmt.Errorf("interface %q: %w", i.GetName(), err)
		}
		if names[p.Name] {
			return nil, invalid("interface name %q is taken", p.Name)
		}
		names[p.Name] = true
		out = append(out, p)
	}
	return out, nil
}

func checkInterface(i *api.Interface) (podns.Interface, error) {
	out := podns.Interface{Name: i.GetName(), MTU: int(i.GetMtu())}
	if n := out.Name; n == "" || len(n) > 15 || n == "." || n == ".." || strings.ContainsAny(n, "/: \t\n%") {
		return out, invalid("not a name of an interface")
	}
	if i.Mtu > 65535 {
		return out, invalid("mtu %d is above 65535", i.Mtu)
	}
	if n := len(i.Addresses) + len(i.Routes); n > maxRoutes {
		return out, invalid("%d addresses and routes are more than %d", n, maxRoutes)
	}
	var err error
	if out.BootMAC, err = parseMAC(i.BootMac); err != nil {
		return out, invalid("boot_mac: %v", err)
	}
	if i.Mac != "" {
		if out.MAC, err = parseMAC(i.Mac); err != nil {
			return out, invalid("mac: %v", err)
		}
	}
	for _, a := range i.Addresses {
		p, err := netip.ParsePrefix(a.GetCidr())
		if err != nil {
			return out, invalid("address: %v", err)
		}
		out.Addrs = append(out.Addrs, p)
	}
	for _, r := range i.Routes {
		p, err := netip.ParsePrefix(r.GetDestination())
		if err != nil {
			return out, invalid("route: %v", err)
		}
		route := podns.Route{Dst: p, MTU: int(r.Mtu), Metric: int(r.Metric)}
		if r.Gateway != "" {
			if route.Gateway, err = netip.ParseAddr(r.Gateway); err != nil {
				return out, invalid("gateway: %v", err)
			}
			if route.Gateway.Is4() != p.Addr().Is4() {
				return out, invalid("gateway %s and destination %s are of two families", r.Gateway, p)
			}
		}
		out.Routes = append(out.Routes, route)
	}
	return out, nil
}

func parseMAC(s string) (net.HardwareAddr, error) {
	m, err := net.ParseMAC(s)
	if err == nil && len(m) != 6 {
		err = fmt.Errorf("%q has %d bytes, not 6", s, len(m))
	}
	return m, err
}
