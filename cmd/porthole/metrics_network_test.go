package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// fakeCounters are those of three pods, of which one has no endpoint yet.
type fakeCounters struct {
	pods, stats error // what is answered
	asked       int
}

func (f *fakeCounters) Pods() ([]string, error) { return []string{"a", "b", "c"}, f.pods }

func (f *fakeCounters) Stats(ctx context.Context, id string) ([]hcnnet.EndpointStats, error) {
	f.asked++
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("the reading has no bound")
	}
	if f.stats != nil {
		return nil, f.stats
	}
	if id == "b" {
		return nil, fmt.Errorf("pod b: %w", errdefs.ErrNotFound)
	}
	return []hcnnet.EndpointStats{{Endpoint: "e-" + id, Stats: hcnnet.Stats{
		BytesReceived: 1, BytesSent: 2, PacketsReceived: 3, PacketsSent: 4, DroppedIncoming: 5, DroppedOutgoing: 6,
	}}}, nil
}

func TestEndpointMetrics(t *testing.T) {
	f := &fakeCounters{}
	reg := prometheus.NewRegistry()
	registerEndpoints(reg, f)
	var want strings.Builder
	for _, m := range []struct {
		name, help     string
		received, sent int
	}{
		{"bytes", "Bytes through a pod's endpoint of HNS.", 1, 2},
		{"dropped_packets", "Packets that HNS dropped at a pod's endpoint.", 5, 6},
		{"packets", "Packets through a pod's endpoint of HNS.", 3, 4},
	} {
		fmt.Fprintf(&want, "# HELP porthole_endpoint_%s_total %s\n# TYPE porthole_endpoint_%[1]s_total counter\n", m.name, m.help)
		for _, id := range []string{"a", "c"} {
			for direction, n := range map[string]int{"receive": m.received, "transmit": m.sent} {
				fmt.Fprintf(&want, "porthole_endpoint_%s_total{direction=%q,endpoint=\"e-%s\",pod_id=%q} %d\n", m.name, direction, id, id, n)
			}
		}
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want.String())); err != nil {
		t.Error(err)
	}

	// HNS that is away is asked once, and the rest is told.
	f.stats, f.asked = fmt.Errorf("hns: %w", errdefs.ErrUnavailable), 0
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "other", Help: "Other."})
	reg.MustRegister(info)
	if err := testutil.GatherAndCompare(reg, strings.NewReader("# HELP other Other.\n# TYPE other gauge\nother 0\n")); err != nil || f.asked != 1 {
		t.Errorf("while HNS is away, asked %d times: %v", f.asked, err)
	}

	f.pods = errors.New("the folder is gone")
	if _, err := reg.Gather(); err == nil || !strings.Contains(err.Error(), "the folder is gone") {
		t.Errorf("Gather = %v, want why pods are not known", err)
	}
}
