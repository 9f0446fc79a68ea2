package image

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what a store does. A nil Metrics counts nothing.
type Metrics struct {
	pulls     *prometheus.CounterVec
	bytes     prometheus.Counter
	layers    prometheus.Counter
	merged    prometheus.Counter
	tarBytes  prometheus.Counter
	convert   prometheus.Histogram
	running   *prometheus.GaugeVec
	pullTimes prometheus.Histogram
}

// NewMetrics registers the image metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	const ns, sub = "porthole", "image"
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 14)})
	}
	m := &Metrics{
		pulls:     prometheus.NewCounterVec(prometheus.CounterOpts(opts("pulls_total", "Pulls by result.")), []string{"result"}),
		bytes:     prometheus.NewCounter(prometheus.CounterOpts(opts("fetched_bytes_total", "Bytes fetched from registries."))),
		layers:    prometheus.NewCounter(prometheus.CounterOpts(opts("layers_converted_total", "Layers made into file systems."))),
		merged:    prometheus.NewCounter(prometheus.CounterOpts(opts("layers_merged_total", "Of the layers made into file systems, those that share one with others."))),
		tarBytes:  prometheus.NewCounter(prometheus.CounterOpts(opts("converted_bytes_total", "Bytes of plain tar converted."))),
		convert:   seconds("layer_conversion_seconds", "Time to convert one layer, or several into one file system."),
		pullTimes: seconds("pull_seconds", "Time of pulls that succeeded."),
		running:   prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("running", "Work under way by kind.")), []string{"kind"}),
	}
	for _, c := range []prometheus.Collector{m.pulls, m.bytes, m.layers, m.merged, m.tarBytes, m.convert, m.pullTimes, m.running} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) fetched(n int) {
	if m != nil {
		m.bytes.Add(float64(n))
	}
}

// converted counts a disk that was made of so many layers.
func (m *Metrics) converted(layers int, tarBytes int64, took time.Duration) {
	if m != nil {
		m.layers.Add(float64(layers))
		if layers > 1 {
			m.merged.Add(float64(layers))
		}
		m.tarBytes.Add(float64(tarBytes))
		m.convert.Observe(took.Seconds())
	}
}

// start counts work of a kind until the returned function is called.
func (m *Metrics) start(kind string) func() {
	if m == nil {
		return func() {}
	}
	g := m.running.WithLabelValues(kind)
	g.Inc()
	return g.Dec
}

func (m *Metrics) pulled(err error, took time.Duration) {
	switch {
	case m == nil:
	case err != nil:
		m.pulls.WithLabelValues("error").Inc()
	default:
		m.pulls.WithLabelValues("ok").Inc()
		m.pullTimes.Observe(took.Seconds())
	}
}
