package hcnnet

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/porthole-run/porthole/network"
)

// result is a plugin's result with addresses, each "CIDR" or "CIDR gateway".
func result(t *testing.T, ips ...string) *types100.Result {
	t.Helper()
	r := &types100.Result{}
	for _, text := range ips {
		cidr, gw, _ := strings.Cut(text, " ")
		ip, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		r.IPs = append(r.IPs, &types100.IPConfig{Address: net.IPNet{IP: ip, Mask: n.Mask}, Gateway: net.ParseIP(gw)})
	}
	return r
}

func TestMerge(t *testing.T) {
	l2 := Network{Name: "net", Type: "L2Bridge", Subnets: []string{"10.0.0.0/24", "fd00::/64"}}
	ep := func(edit func(*attachment)) []attachment {
		a := attachment{network: l2, Endpoint: Endpoint{ID: "E1", Name: "pod_net", MAC: "00-15-5D-00-00-01", Addresses: []IPConfig{{Address: "10.0.0.5", PrefixLength: 24}}}}
		if edit != nil {
			edit(&a)
		}
		return []attachment{a}
	}
	tests := []struct {
		name    string
		added   *types100.Result
		list    []attachment
		nic     network.NIC // but for Name, Interface and MAC
		dns     network.DNS
		unknown []string
		err     string
	}{
		{name: "endpoint_alone", added: result(t), list: ep(nil), nic: network.NIC{Addresses: []string{"10.0.0.5/24"}}},
		{name: "gateway_of_the_result", added: result(t, "10.0.0.5/24 10.0.0.1"), list: ep(nil),
			nic: network.NIC{Addresses: []string{"10.0.0.5/24"}, Routes: []network.Route{{Destination: "0.0.0.0/0", Gateway: "10.0.0.1"}}}},
		{name: "gateway_of_another_family", added: result(t, "10.0.0.5/24", "fd00::5/64 fd00::1"), list: ep(nil),
			nic: network.NIC{Addresses: []string{"10.0.0.5/24"}}, unknown: []string{"fd00::5"}},
		{name: "prefix_of_the_result", added: result(t, "10.0.0.5/20"), list: ep(func(a *attachment) { a.Addresses[0].PrefixLength = 0 }),
			nic: network.NIC{Addresses: []string{"10.0.0.5/20"}}},
		{name: "prefix_of_the_subnet", added: result(t), list: ep(func(a *attachment) { a.Addresses = []IPConfig{{Address: "fd00::5"}} }),
			nic: network.NIC{Addresses: []string{"fd00::5/64"}}},
		{name: "no_prefix", added: result(t), list: ep(func(a *attachment) { a.Addresses = []IPConfig{{Address: "192.0.2.1"}} }), err: "nobody tells the prefix length of 192.0.2.1"},
		{name: "far_gateway", added: result(t), list: ep(func(a *attachment) {
			a.Addresses[0].PrefixLength = 32
			a.Routes = []Route{{Destination: "0.0.0.0/0", NextHop: "10.9.0.1"}}
		}), nic: network.NIC{Addresses: []string{"10.0.0.5/32"}, Routes: []network.Route{{Destination: "10.9.0.1/32"}, {Destination: "0.0.0.0/0", Gateway: "10.9.0.1"}}}},
		{name: "routes_that_lead_nowhere", added: result(t), list: ep(func(a *attachment) {
			a.Routes = []Route{{Destination: "0.0.0.0/0", NextHop: "0.0.0.0"}, {Destination: "::/0"}, {Destination: "10.7.7.7/16", NextHop: "0.0.0.0", Metric: 3}}
		}), nic: network.NIC{Addresses: []string{"10.0.0.5/24"}, Routes: []network.Route{{Destination: "10.7.0.0/16", Metric: 3}}}},
		{name: "mixed_route", added: result(t), list: ep(func(a *attachment) { a.Routes = []Route{{Destination: "::/0", NextHop: "10.0.0.1"}} }), err: "other family"},
		{name: "bad_route", added: result(t), list: ep(func(a *attachment) { a.Routes = []Route{{Destination: "x"}} }), err: `route to "x"`},
		{name: "dhcp", added: result(t), list: ep(func(a *attachment) { a.Addresses = nil }), err: "it has no address: pods get addresses from the plugins, not by DHCP"},
		{name: "bad_mac", added: result(t), list: ep(func(a *attachment) { a.MAC = "00-15-5D" }), err: "MAC"},
		{name: "overlay", added: result(t), list: ep(func(a *attachment) { a.network.Type = "overlay" }), nic: network.NIC{MTU: 1450, Addresses: []string{"10.0.0.5/24"}}},
		{name: "overhead_of_policy", added: result(t), list: ep(func(a *attachment) {
			a.network.Type, a.Policies = "Overlay", []Policy{{Type: "EncapOverhead", Settings: json.RawMessage(`{"Overhead":74}`)}}
		}), nic: network.NIC{MTU: 1426, Addresses: []string{"10.0.0.5/24"}}},
		{name: "absurd_overhead", added: result(t), list: ep(func(a *attachment) {
			a.Policies = []Policy{{Type: "EncapOverhead", Settings: json.RawMessage(`{"Overhead":1400}`)}}
		}), err: "takes 1400 bytes of 1500"},
		{name: "broken_policy", added: result(t), list: ep(func(a *attachment) { a.Policies = []Policy{{Type: "EncapOverhead"}} }), err: "policy EncapOverhead"},
		{name: "dns_of_the_result", added: func() *types100.Result {
			r := result(t)
			r.DNS.Nameservers, r.DNS.Domain = []string{"10.0.0.10"}, "a.example"
			return r
		}(), list: ep(func(a *attachment) {
			a.DNS = DNS{Servers: []string{"192.0.2.53"}, Search: []string{"b.example"}, Options: []string{"ndots:2"}}
		}),
			nic: network.NIC{Addresses: []string{"10.0.0.5/24"}},
			dns: network.DNS{Servers: []string{"10.0.0.10"}, Search: []string{"a.example"}, Options: []string{"ndots:2"}}},
		{name: "dns_of_the_endpoint", added: result(t), list: ep(func(a *attachment) {
			a.DNS = DNS{Domain: "a.example", Servers: []string{"10.0.0.10,10.0.0.11", "127.0.0.1", "fe80::1%3", "x", ""}, Search: []string{"b.example, a.example"}}
		}), nic: network.NIC{Addresses: []string{"10.0.0.5/24"}},
			dns: network.DNS{Servers: []string{"10.0.0.10", "10.0.0.11"}, Search: []string{"a.example", "b.example"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, unknown, err := merge(tt.added, tt.list)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("merge = %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tt.nic.Name, tt.nic.Interface, tt.nic.MAC = "eth0", "e1", "00:15:5d:00:00:01"
			if diff := cmp.Diff([]network.NIC{tt.nic}, got.NICs, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("NICs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.dns, got.DNS, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("DNS (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.unknown, unknown); diff != "" {
				t.Errorf("unknown (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzMerge gives merge whatever plugins and HNS may say: valid text comes out, or an error.
func FuzzMerge(f *testing.F) {
	f.Add(`{"ips":[{"address":"10.0.0.5/24","gateway":"10.0.0.1"}],"dns":{"nameservers":[""]}}`,
		`[{"ID":"a","Name":"x_eth0","MacAddress":"00-15-5D-00-00-01","IpConfigurations":[{"IpAddress":"10.0.0.5","PrefixLength":24}],"Routes":[{"DestinationPrefix":"0.0.0.0/0","NextHop":"10.0.0.1"}]}]`, "Overlay")
	f.Add(`{"interfaces":[{"name":"eth0","mac":"\u0000","mtu":-1}],"routes":[{"dst":"::/0"}]}`,
		`[{"MacAddress":"00-15-5D-00-00-01","IpConfigurations":[{"IpAddress":"::ffff:10.0.0.5","PrefixLength":129}],"Policies":[{"Type":"EncapOverhead","Settings":{"Overhead":65535}}]},{"Dns":{"ServerList":["fe80::1%x"]}}]`, "L2Bridge")
	f.Fuzz(func(t *testing.T, added, endpoints, kind string) {
		var r types100.Result
		var list []Endpoint
		if json.Unmarshal([]byte(added), &r) != nil || json.Unmarshal([]byte(endpoints), &list) != nil {
			return
		}
		var attachments []attachment
		for _, e := range list {
			attachments = append(attachments, attachment{Endpoint: e, network: Network{Type: kind, Subnets: []string{"10.0.0.0/8"}}})
		}
		got, _, err := merge(&r, attachments)
		if err != nil {
			return
		}
		for _, nic := range got.NICs {
			if _, err := net.ParseMAC(nic.MAC); err != nil || nic.MTU < 0 || len(nic.Addresses) == 0 {
				t.Errorf("NIC %+v: %v", nic, err)
			}
			for _, a := range nic.Addresses {
				if _, err := netip.ParsePrefix(a); err != nil {
					t.Errorf("address: %v", err)
				}
			}
			for _, route := range nic.Routes {
				if p, err := netip.ParsePrefix(route.Destination); err != nil || p != p.Masked() {
					t.Errorf("destination %q: %v", route.Destination, err)
				}
				if _, err := netip.ParseAddr(route.Gateway); route.Gateway != "" && err != nil {
					t.Errorf("gateway: %v", err)
				}
			}
		}
		for _, s := range got.DNS.Servers {
			if _, err := netip.ParseAddr(s); err != nil {
				t.Errorf("server: %v", err)
			}
		}
	})
}
