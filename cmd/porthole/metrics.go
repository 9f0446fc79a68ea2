package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/template"
)

// newRegistry returns a registry with what is told about the process itself.
func newRegistry(b buildInfo) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "porthole", Name: "build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	info.Set(1)
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return reg
}

// registerCounts adds how many pods and containers there are, by state. They are
// counted when asked for.
func registerCounts(reg *prometheus.Registry, m *sandbox.Manager, accel string) {
	reg.MustRegister(&counts{
		m:          m,
		pods:       prometheus.NewDesc("porthole_pods", "Pod sandboxes by state.", []string{"state"}, nil),
		containers: prometheus.NewDesc("porthole_containers", "Containers by state.", []string{"state"}, nil),
		accel: prometheus.NewDesc("porthole_accelerator_info", "Always 1; the label says what runs guests.", nil,
			prometheus.Labels{"accelerator": accel}),
	})
}

type counts struct {
	m                       *sandbox.Manager
	pods, containers, accel *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *counts) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.pods
	ch <- c.containers
	ch <- c.accel
}

// Collect implements prometheus.Collector.
func (c *counts) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(c.accel, prometheus.GaugeValue, 1)
	ctx := context.Background() // Collect has no context; nothing below waits
	pods, err := c.m.Pods(ctx, sandbox.PodFilter{})
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.pods, err)
	}
	byState := map[string]int{string(sandbox.PodReady): 0, string(sandbox.PodNotReady): 0}
	for _, p := range pods {
		byState[string(p.State)]++
	}
	for state, n := range byState {
		ch <- prometheus.MustNewConstMetric(c.pods, prometheus.GaugeValue, float64(n), state)
	}
	containers, err := c.m.Containers(ctx, sandbox.ContainerFilter{})
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.containers, err)
	}
	byPhase := map[string]int{
		string(sandbox.ContainerCreatedPhase): 0, string(sandbox.ContainerRunning): 0,
		string(sandbox.ContainerExited): 0, string(sandbox.ContainerUnknown): 0,
	}
	for _, c := range containers {
		byPhase[string(c.Phase)]++
	}
	for phase, n := range byPhase {
		ch <- prometheus.MustNewConstMetric(c.containers, prometheus.GaugeValue, float64(n), phase)
	}
}

// registerTemplates adds what there is of templates, and how VMs started.
func registerTemplates(reg *prometheus.Registry, k *template.Keeper) {
	reg.MustRegister(&templates{
		k:      k,
		states: prometheus.NewDesc("porthole_templates", "Templates of VMs by state.", []string{"state"}, nil),
		bytes:  prometheus.NewDesc("porthole_template_bytes", "Memory that templates hold, in bytes.", nil, nil),
		starts: prometheus.NewDesc("porthole_vm_starts_total", "Starts of VMs by how.", []string{"how"}, nil),
	})
}

type templates struct {
	k                     *template.Keeper
	states, bytes, starts *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (t *templates) Describe(ch chan<- *prometheus.Desc) {
	ch <- t.states
	ch <- t.bytes
	ch <- t.starts
}

// Collect implements prometheus.Collector.
func (t *templates) Collect(ch chan<- prometheus.Metric) {
	s := t.k.Status()
	states := map[string]int{template.Ready: 0, template.Waiting: 0, template.Failed: 0}
	var bytes int64
	for _, c := range s.Classes {
		states[c.State]++
		bytes += c.Bytes
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(t.states, prometheus.GaugeValue, float64(n), state)
	}
	ch <- prometheus.MustNewConstMetric(t.bytes, prometheus.GaugeValue, float64(bytes))
	for how, n := range map[string]uint64{"clone": s.Counts.Clones, "boot": s.Counts.Boots, "fallback": s.Counts.Fallbacks} {
		ch <- prometheus.MustNewConstMetric(t.starts, prometheus.CounterValue, float64(n), how)
	}
}

// metricsHandler serves /metrics and nothing else.
func metricsHandler(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4}))
	return mux
}

// serveHTTP serves h on l until ctx ends, then waits for what runs, 5 s at most.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(stopCtx); err != nil {
		_ = s.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
