package podns

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/usage"
)

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  net1: 5 6 7 8 0 0 0 0 9 10 11 12 0 0 0 0
  eth0:18446744073709551615 2 3 4 0 0 0 0 50 60 70 80 0 0 0 0
  tun0: 1 broken
`

func TestParseTraffic(t *testing.T) {
	eth0 := usage.Interface{Name: "eth0", RxBytes: 1<<64 - 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 50, TxPackets: 60, TxErrors: 70, TxDropped: 80}
	net1 := usage.Interface{Name: "net1", RxBytes: 5, RxPackets: 6, RxErrors: 7, RxDropped: 8, TxBytes: 9, TxPackets: 10, TxErrors: 11, TxDropped: 12}
	if diff := cmp.Diff([]usage.Interface{eth0, net1}, parseTraffic(netDev, []string{"eth0"}, 64)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A pod that makes interfaces without end does not push its own out.
	many := netDev
	for i := range 500 {
		many = strings.Replace(many, "  eth0:", fmt.Sprintf("  d%d: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n  eth0:", i), 1)
	}
	got := parseTraffic(many, []string{"eth0", "eth1"}, 64)
	if len(got) != 64 || got[0] != eth0 {
		t.Errorf("%d interfaces, the first %+v, want 64 and eth0", len(got), got[0])
	}
}

func FuzzParseTraffic(f *testing.F) {
	f.Add(netDev)
	f.Fuzz(func(t *testing.T, text string) {
		if got := parseTraffic(text, []string{"eth0"}, 4); len(got) > 4 {
			t.Errorf("%d interfaces", len(got))
		}
	})
}
