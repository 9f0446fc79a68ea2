package podns

import (
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/internal/usage"
)

// parseTraffic reads the first limit interfaces but lo of a /proc/net/dev file, those of
// first before the others:
//
//	Inter-|   Receive                                                |  Transmit
//	 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop …
//	  eth0:     70       1    0    0    0     0          0         0       70       1    0    0 …
func parseTraffic(text string, first []string, limit int) []usage.Interface {
	rank := map[string]int{}
	for i, name := range first {
		rank[name] = i + 1
	}
	own := make([]*usage.Interface, len(first))
	var others []usage.Interface
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(rest)
		if !ok || name == "lo" || len(f) < 12 {
			continue
		}
		n := make([]uint64, 12)
		for i := range n {
			n[i], _ = strconv.ParseUint(f[i], 10, 64)
		}
		t := usage.Interface{
			Name:    name,
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
		if r := rank[name]; r > 0 {
			own[r-1] = &t
		} else if len(others) < limit {
			others = append(others, t)
		}
	}
	var out []usage.Interface
	for _, t := range own {
		if t != nil {
			out = append(out, *t)
		}
	}
	out = append(out, others...)
	return out[:min(len(out), limit)]
}
