package main

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// endpointCounters are what passes through pods' endpoints of HNS.
type endpointCounters interface {
	// Pods are the pods that HNS holds something for.
	Pods() ([]string, error)
	// Stats are the counters of one pod's endpoints. NotFound when it has none, or none any more.
	Stats(ctx context.Context, podID string) ([]hcnnet.EndpointStats, error)
}

// endpointsTimeout bounds what one reading of the metrics waits for HNS.
const endpointsTimeout = 2 * time.Second

// registerEndpoints adds the counters of pods' endpoints. Unlike those of the guest's interfaces, which
// the CRI has, they tell of packets that Windows drops before the guest, or after it.
func registerEndpoints(reg *prometheus.Registry, c endpointCounters) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("porthole_endpoint_"+name, help, []string{"pod_id", "endpoint", "direction"}, nil)
	}
	reg.MustRegister(&endpoints{
		from:    c,
		bytes:   desc("bytes_total", "Bytes through a pod's endpoint of HNS."),
		packets: desc("packets_total", "Packets through a pod's endpoint of HNS."),
		dropped: desc("dropped_packets_total", "Packets that HNS dropped at a pod's endpoint."),
	})
}

type endpoints struct {
	from                    endpointCounters
	bytes, packets, dropped *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (e *endpoints) Describe(ch chan<- *prometheus.Desc) {
	ch <- e.bytes
	ch <- e.packets
	ch <- e.dropped
}

// Collect implements prometheus.Collector. While HNS does not answer there are none of these: it must not take the
// other metrics along, nor be asked for each pod. That it is away is in the CRI's Status.
func (e *endpoints) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), endpointsTimeout) // Collect has no context
	defer cancel()
	pods, err := e.from.Pods()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(e.bytes, err)
		return
	}
	for _, id := range pods {
		list, err := e.from.Stats(ctx, id)
		if errdefs.IsNotFound(err) {
			continue // detached meanwhile, or at work
		}
		if err != nil {
			return
		}
		for _, s := range list {
			e.tell(ch, id, s)
		}
	}
}

func (e *endpoints) tell(ch chan<- prometheus.Metric, podID string, s hcnnet.EndpointStats) {
	for _, m := range []struct {
		desc           *prometheus.Desc
		received, sent uint64
	}{
		{e.bytes, s.BytesReceived, s.BytesSent},
		{e.packets, s.PacketsReceived, s.PacketsSent},
		{e.dropped, s.DroppedIncoming, s.DroppedOutgoing},
	} {
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.received), podID, s.Endpoint, "receive")
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.sent), podID, s.Endpoint, "transmit")
	}
}
