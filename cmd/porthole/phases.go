package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/porthole-run/porthole/internal/phase"
)

// phaseNames are the phases that the histogram tells apart: the ones of this build, and
// not what guests may make up.
var phaseNames = []string{
	"resolve", "manifest", "fetch layer", "convert layer", "merge layers",
	"vm", "await template", "create vm", "clone vm", "start vm", "agent answers", "network", "scratch disk",
	"begin pod", "set up pod", "attach scratch", "attach nic", "pod in guest", "network in guest", "write files", "mount scratch", "make namespaces", "set network",
	"image", "spec", "look up user", "volumes", "create in vm", "attach layers", "attach volumes", "open streams", "container in guest",
	"make folders", "mount layers", "mount root", "find user", "prepare root", "mount volumes", "crun create",
	"start in vm", "start in guest", "crun start",
}

// newJournal makes the journal of what the calls that make pods spend their time on. Each
// call also counts in the metrics and goes to traces.
func newJournal(reg prometheus.Registerer, traces *otlp) *phase.Journal {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "porthole", Name: "phase_seconds",
		Help:    "How long the phases of the calls that make pods took.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"phase"})
	reg.MustRegister(seconds)
	known := make(map[string]bool, len(phaseNames))
	for _, name := range phaseNames {
		known[name] = true
	}
	return phase.NewJournal(func(c phase.Call) {
		for _, s := range c.Spans {
			if known[s.Name] {
				seconds.WithLabelValues(s.Name).Observe(s.Took.Seconds())
			}
		}
		traces.send(c)
	})
}
