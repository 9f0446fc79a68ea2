package main

import (
	"fmt"
	"strings"
)

// densityReport is what a run of measureDensity found.
type densityReport struct {
	budget             float64 // MiB
	starts, containers samples // ms, in the order of the pods
	empty, busy        podMemory
	// Percent of a core: of each pod's VM and shim, and of the daemon.
	idleVM, idleShim, idleServer float64
	notes                        []string
}

// growth is the median start of the last pods by that of the first; NaN of too few.
func growth(s samples) float64 {
	if len(s) < 2*ends {
		return samples(nil).median()
	}
	return s[len(s)-ends:].median() / s[:ends].median()
}

func (r *densityReport) aims() []aim {
	return []aim{
		{what: "PSS of an idle pod, QEMU + shim, empty", unit: "MiB", most: 25, got: r.empty.all.median()},
		{what: "the same with a busybox container", unit: "MiB", most: 60, got: r.busy.all.median()},
		{what: "CPU of an idle pod", unit: "% of a core", most: 0.25, got: r.idleVM + r.idleShim},
		{what: fmt.Sprintf("start of the last %d pods against the first %d", ends, ends), most: 1.3, got: growth(r.starts)},
	}
}

func (r *densityReport) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d pods ran at once.\n\n", len(r.starts))
	writeAims(&b, r.aims())
	b.WriteString("\n| | unit | median | p95 |\n|---|---|--:|--:|\n")
	for _, l := range []struct {
		name, unit string
		s          samples
	}{
		{"RunPodSandbox", "ms", r.starts},
		{"RunPodSandbox of the first ten", "ms", r.starts[:min(ends, len(r.starts))]},
		{"RunPodSandbox of the last ten", "ms", r.starts[max(0, len(r.starts)-ends):]},
		{"Create + StartContainer to first output", "ms", r.containers},
		{"idle pod, PSS: QEMU", "MiB", r.empty.vm},
		{"idle pod, PSS: shim", "MiB", r.empty.shim},
		{"with a container, PSS: QEMU", "MiB", r.busy.vm},
		{"with a container, PSS: shim", "MiB", r.busy.shim},
	} {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", l.name, l.unit, number(l.s.median(), 1), number(l.s.quantile(0.95), 1))
	}
	fmt.Fprintf(&b, "\n- Idle, over %s: QEMU %.3f %% of a core and shim %.3f %% a pod; the daemon %.2f %% in all.\n",
		idleTime, r.idleVM, r.idleShim, r.idleServer)
	fmt.Fprintf(&b, "- The budget was %.1f GiB for all pods' QEMUs and shims.\n", r.budget/1024)
	for _, n := range r.notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	return b.String()
}
