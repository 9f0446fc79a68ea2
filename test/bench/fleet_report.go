package main

import (
	"fmt"
	"slices"
	"strings"
)

// fleetReport is what a run of measureFleet found.
type fleetReport struct {
	calls     int                        // samples of each
	names     []string                   // of the calls, in their order
	took      map[string]map[int]samples // until the answer was there, by call and size
	decoded   map[string]samples         // until the client had decoded it, with most pods
	floor     map[string]samples         // of as many bytes as with most pods
	cpu       map[string]float64         // ms of the daemon's for one call, with most pods
	asked     samples                    // of podStatsCall when VMs were asked, with most pods
	bytes     map[string]int             // of an answer, with most pods
	heap, rss []float64                  // KiB a pod, by size
	notes     []string
}

// markdown is a table of the calls' times, and of how they grow.
func (r *fleetReport) markdown() string {
	var b strings.Builder
	b.WriteString("| ms |")
	for _, size := range fleetSizes {
		fmt.Fprintf(&b, " %d pods: median | p99 |", size)
	}
	first, last := fleetSizes[0], fleetSizes[len(fleetSizes)-1]
	fmt.Fprintf(&b, " %d / %d | floor: median | p99 | daemon's CPU | KiB | decoded: median | p99 |\n|---|%s\n", last, first, strings.Repeat("---:|", 2*len(fleetSizes)+7))
	for _, name := range r.names {
		fmt.Fprintf(&b, "| %s |", name)
		took := r.took[name]
		for _, size := range fleetSizes {
			fmt.Fprintf(&b, " %s | %s |", number(took[size].median(), 2), number(took[size].quantile(0.99), 2))
		}
		fmt.Fprintf(&b, " %s | %s | %s | %s | %s | %s | %s |\n", number(took[last].median()/took[first].median(), 1),
			number(r.floor[name].median(), 2), number(r.floor[name].quantile(0.99), 2), number(r.cpu[name], 2), number(float64(r.bytes[name])/1024, 1),
			number(r.decoded[name].median(), 2), number(r.decoded[name].quantile(0.99), 2))
	}
	b.WriteString("\n")
	for i, size := range fleetSizes {
		fmt.Fprintf(&b, "- With %d pods the daemon holds %.0f KiB of heap and stacks a pod more than without any, and %.0f KiB of resident memory.\n",
			size, r.heap[i], r.rss[i])
	}
	b.WriteString("- The times are until all bytes of the answer have come to a client that does not decode them.\n")
	fmt.Fprintf(&b, "- Lists of figures within a second are of the same figures, so few of those calls ask VMs. %s with %d pods, all of which are asked: median %s, at most %s (%d calls, a second between).\n",
		podStatsCall, last, number(r.asked.median(), 2), number(slices.Max(r.asked), 2), len(r.asked))
	b.WriteString("- The floor is the time of a server that does nothing but send as many bytes, which are there already, over the same kind of connection.\n")
	fmt.Fprintf(&b, "- KiB is the answer with %d pods, and the last two columns are of a client that decodes, as kubelet's does: its own time, and its garbage's, are in it.\n", last)
	fmt.Fprintf(&b, "- The daemon's CPU time is for one call with %d pods. It holds the collection of garbage and the simulated VMs' own part.\n", last)
	fmt.Fprintf(&b, "- %d calls each, one after another, of one client over a unix socket; %d containers a pod, all running.\n", r.calls, containersEach)
	for _, n := range r.notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	return b.String()
}
