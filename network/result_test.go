package network

import (
	"net/netip"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestConvert(t *testing.T) {
	const ifaces = `"interfaces":[{"name":"br0","mac":"02:00:00:00:00:ff"},{"name":"eth0","mac":"02:00:00:00:00:0A","mtu":1400,"sandbox":"/ns"}],`
	kernel := link{mac: "02:00:00:00:00:01", mtu: 1500}
	nic := func(addrs []string, routes ...Route) []NIC {
		return []NIC{{Name: "eth0", Interface: "eth0", MAC: "02:00:00:00:00:0a", MTU: 1400, Addresses: addrs, Routes: routes}}
	}
	tests := []struct {
		name   string
		result string
		link   link
		want   Result
		err    string
	}{
		{
			name: "dual_stack",
			result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"interface":1,"address":"10.0.0.2/24","gateway":"10.0.0.1"},
				{"interface":1,"address":"fd00::2/64","gateway":"fd00::1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"},{"dst":"::/0","gw":"fd00::1"}]}`,
			want: Result{IPs: []string{"10.0.0.2", "fd00::2"}, NICs: nic([]string{"10.0.0.2/24", "fd00::2/64"},
				Route{Destination: "0.0.0.0/0", Gateway: "10.0.0.1"}, Route{Destination: "::/0", Gateway: "fd00::1"})},
		},
		{
			name:   "gateway_of_the_address",
			result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1"}],"routes":[{"dst":"192.168.7.9/16"}]}`,
			want:   Result{IPs: []string{"10.0.0.2"}, NICs: nic([]string{"10.0.0.2/24"}, Route{Destination: "192.168.0.0/16", Gateway: "10.0.0.1"})},
		},
		{
			name: "mtu_priority_table_scope",
			result: `{"cniVersion":"1.1.0",` + ifaces + `"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1"}],
				"routes":[{"dst":"10.1.0.0/16","mtu":1300,"priority":7},{"dst":"10.2.0.0/16","table":100},{"dst":"10.3.0.0/16","table":254,"scope":253}]}`,
			want: Result{IPs: []string{"10.0.0.2"}, NICs: nic([]string{"10.0.0.2/24"},
				Route{Destination: "10.3.0.0/16"}, Route{Destination: "10.1.0.0/16", Gateway: "10.0.0.1", MTU: 1300, Metric: 7})},
		},
		{
			name:   "kernel_fills_in",
			result: `{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"/ns"}],"ips":[{"version":"4","interface":0,"address":"10.0.0.2/32"}]}`,
			link: link{mac: kernel.mac, mtu: 1500, routes: []Route{
				{Destination: "0.0.0.0/0", Gateway: "169.254.1.1"}, {Destination: "169.254.1.1/32"}}},
			want: Result{IPs: []string{"10.0.0.2"}, NICs: []NIC{{Name: "eth0", Interface: "eth0", MAC: kernel.mac, MTU: 1500, Addresses: []string{"10.0.0.2/32"},
				Routes: []Route{{Destination: "169.254.1.1/32"}, {Destination: "0.0.0.0/0", Gateway: "169.254.1.1"}}}}},
		},
		{
			name:   "far_gateway_is_made_reachable",
			result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"address":"10.0.0.2/32","gateway":"10.9.9.9"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"10.8.0.0/16"}]}`,
			want: Result{IPs: []string{"10.0.0.2"}, NICs: nic([]string{"10.0.0.2/32"}, Route{Destination: "10.9.9.9/32"},
				Route{Destination: "0.0.0.0/0", Gateway: "10.9.9.9"}, Route{Destination: "10.8.0.0/16", Gateway: "10.9.9.9"})},
		},
		{
			name:   "result_wins_over_kernel",
			result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"address":"10.0.0.2/24"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}`,
			link:   link{mac: kernel.mac, mtu: 1500, routes: []Route{{Destination: "0.0.0.0/0", Gateway: "10.0.0.9"}}},
			want:   Result{IPs: []string{"10.0.0.2"}, NICs: nic([]string{"10.0.0.2/24"}, Route{Destination: "0.0.0.0/0", Gateway: "10.0.0.1"})},
		},
		{
			name:   "version_0.2.0",
			result: `{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0"}]}}`,
			link:   kernel,
			want: Result{IPs: []string{"10.0.0.2"}, NICs: []NIC{{Name: "eth0", Interface: "eth0", MAC: kernel.mac, MTU: 1500, Addresses: []string{"10.0.0.2/24"},
				Routes: []Route{{Destination: "0.0.0.0/0", Gateway: "10.0.0.1"}}}}},
		},
		{
			name: "dns",
			result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"address":"10.0.0.2/24"}],
				"dns":{"nameservers":["10.0.0.1"],"domain":"a.example","search":["b.example"],"options":["ndots:2"]}}`,
			want: Result{IPs: []string{"10.0.0.2"}, NICs: nic([]string{"10.0.0.2/24"}),
				DNS: DNS{Servers: []string{"10.0.0.1"}, Search: []string{"a.example", "b.example"}, Options: []string{"ndots:2"}}},
		},
		{
			name:   "only_of_eth0",
			result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"interface":0,"address":"10.0.0.1/24"},{"interface":1,"address":"10.0.0.2/24"}]}`,
			want:   Result{IPs: []string{"10.0.0.2"}, NICs: nic([]string{"10.0.0.2/24"})},
		},
		{name: "no_address", result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[]}`, err: "no address for eth0"},
		{name: "bad_index", result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"interface":7,"address":"10.0.0.2/24"}]}`, err: "interface 7 of 2"},
		{name: "negative_index", result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"interface":-1,"address":"10.0.0.2/24"}]}`, err: "interface -1 of 2"},
		{name: "null_address", result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[null]}`, err: "address 0 is null"},
		{name: "bad_mac", result: `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"zz","sandbox":"/ns"}],"ips":[{"address":"10.0.0.2/24"}]}`, err: "MAC of eth0"},
		{name: "mixed_families", result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"address":"10.0.0.2/24"}],"routes":[{"dst":"::/0","gw":"10.0.0.1"}]}`, err: "other family"},
		{name: "no_destination", result: `{"cniVersion":"1.0.0",` + ifaces + `"ips":[{"address":"10.0.0.2/24"}],"routes":[null]}`, err: "route 0 is null"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := create.CreateFromBytes([]byte(tt.result))
			if err != nil {
				t.Fatal(err)
			}
			current, err := types100.NewResultFromResult(res)
			if err != nil {
				t.Fatal(err)
			}
			got, err := convert(current)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("convert = %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got.NICs[0].complete(tt.link)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzConvert checks that what any plugin prints comes out as valid text or an error.
func FuzzConvert(f *testing.F) {
	f.Add(`{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"x"}],"ips":[{"interface":0,"address":"10.0.0.2/24","gateway":"10.0.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}`)
	f.Add(`{"cniVersion":"1.1.0","ips":[{"address":"fd00::2/64","gateway":"fe80::1"}],"routes":[{"dst":"::/0","scope":253,"table":0}]}`)
	f.Add(`{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24"},"ip6":{"ip":"fd00::2/64"}}`)
	f.Add(`{"cniVersion":"0.4.0","interfaces":[null],"ips":[{"version":"6","interface":0,"address":"::ffff:10.0.0.2/120"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if checkResult([]byte(text)) != nil {
			return
		}
		res, err := create.CreateFromBytes([]byte(text))
		if err != nil {
			return
		}
		current, err := types100.NewResultFromResult(res)
		if err != nil {
			return
		}
		r, err := convert(current)
		if err != nil {
			return
		}
		nic := &r.NICs[0]
		nic.complete(link{mac: "02:00:00:00:00:01", mtu: 1500})
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
	})
}
