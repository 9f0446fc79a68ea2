package podns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	tests := []struct {
		name   string
		addrs  []netip.Prefix
		routes []Route
		want   string
	}{
		{"none", nil, nil, ""},
		{"gateway_in_subnet", []netip.Prefix{p("10.1.0.5/24")}, []Route{{Dst: p("0.0.0.0/0"), Gateway: a("10.1.0.1")}}, "0.0.0.0/0 10.1.0.1"},
		{"gateway_off_link", []netip.Prefix{p("10.1.0.5/32")},
			[]Route{{Dst: p("0.0.0.0/0"), Gateway: a("169.254.1.1")}, {Dst: p("10.0.0.0/8"), Gateway: a("169.254.1.1")}},
			"169.254.1.1/32 -; 0.0.0.0/0 169.254.1.1; 10.0.0.0/8 169.254.1.1"},
		{"on_link_route_first", []netip.Prefix{p("10.1.0.5/32")},
			[]Route{{Dst: p("0.0.0.0/0"), Gateway: a("10.9.0.1")}, {Dst: p("10.9.0.0/16")}},
			"10.9.0.0/16 -; 0.0.0.0/0 10.9.0.1"},
		{"v6", []netip.Prefix{p("fd00::5/64")},
			[]Route{{Dst: p("::/0"), Gateway: a("fe80::1")}, {Dst: p("fd01::/64"), Gateway: a("fd02::1")}},
			"::/0 fe80::1; fd02::1/128 -; fd01::/64 fd02::1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range plan(Interface{Addrs: tt.addrs, Routes: tt.routes}) {
				gw := "-"
				if r.Gateway.IsValid() {
					gw = r.Gateway.String()
				}
				got = append(got, fmt.Sprintf("%s %s", r.Dst, gw))
			}
			if d := cmp.Diff(tt.want, strings.Join(got, "; ")); d != "" {
				t.Error(d)
			}
		})
	}
}
