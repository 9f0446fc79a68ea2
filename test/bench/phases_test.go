package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/phase"
)

func TestPhases(t *testing.T) {
	const ms = time.Millisecond
	var tab table
	for _, took := range []time.Duration{10 * ms, 30 * ms, 20 * ms} {
		addPhases(&tab, phase.History{Calls: []phase.Call{{
			Name: "RunPodSandbox", Took: 4 * took,
			Spans: []phase.Span{
				{Name: "vm", Parent: phase.Root, Took: took},
				{Name: "network", Parent: phase.Root, Took: 2 * took},
				{Name: "start vm", Parent: 0, Took: took / 2},
				{Name: "network", Parent: phase.Root, Took: took}, // again, and shorter
			},
		}}})
	}
	var b strings.Builder
	tab.writePhases(&b)
	const want = `| phase | median ms | p95 ms |
|---|--:|--:|
| RunPodSandbox | 80.0 | 120.0 |
| &emsp;vm | 20.0 | 30.0 |
| &emsp;&emsp;start vm | 10.0 | 15.0 |
| &emsp;network | 40.0 | 60.0 |
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
}
