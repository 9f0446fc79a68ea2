package main

import (
	"fmt"
	"io"
	"math"
)

// aim is a figure that a run is held against.
type aim struct {
	what string
	unit string  // empty: a ratio
	most float64 // the figure is at most that
	got  float64 // NaN: not measured
	how  string  // how to measure it, where got is NaN
}

// aims are those of the whole benchmark. What a run of density measures, it tells itself.
func (r *report) aims() []aim {
	const density = "`make bench-density`"
	return []aim{
		{what: "RunPodSandbox, clone of a template, against containerd + runc", most: 1.0, got: r.steps.ratio(stepRun)},
		{what: "the same from the warm pool", most: 0.3, got: r.steps.ratio(stepRun + fromPool)},
		{what: "sandbox + create + start to first output, warm pool, against containerd + runc", most: 1.0, got: r.steps.ratio(stepBoth + fromPool)},
		{what: "boot to agent ready, CPU time, small kernel on microvm against Debian's on q35", most: 0.5,
			got: r.boots.meanCPU(stepBoot) / r.boots.meanCPU(stepBootPeer), how: "`make guest KERNEL=small` first"},
		{what: "ExecSync of true against containerd + runc", most: 0.7, got: r.steps.ratio(stepExec)},
		{what: "stop + remove against containerd + runc", most: 0.5, got: r.steps.ratio(stepStopRemove)},
		{what: "pull + unpack, 10 layers, against containerd's overlayfs", most: 0.35, got: r.steps.ratio(stepPull)},
		{what: "10 pulls of one image at once against one, CPU time", most: 1.1,
			got: r.pulls.median(rowManyPulls) / r.pulls.median(rowOnePull)},
		{what: rowTall, unit: "MiB", most: 64, got: r.pulls.median(rowTall)},
		{what: rowCrowd, unit: "MiB", most: 350, got: r.pulls.median(rowCrowd), how: "`make bench BENCH=-long`"},
		{what: "PSS of an idle pod at 60 pods, empty", unit: "MiB", most: 25, got: math.NaN(), how: density},
		{what: "the same with a busybox container", unit: "MiB", most: 60, got: math.NaN(), how: density},
		{what: "CPU of an idle pod", unit: "% of a core", most: 0.25, got: math.NaN(), how: density},
		{what: "start of the last ten of 60 pods against the first ten", most: 1.3, got: math.NaN(), how: density},
		{what: "Create + StartContainer with 20 layers against 1", most: 1.3,
			got: r.layers.median(rowDeep) / r.layers.median(rowFlat)},
	}
}

// writeAims prints aims as Markdown.
func writeAims(w io.Writer, all []aim) {
	lines := [][]string{{"aim", "at most", "this run", ""}}
	for _, a := range all {
		lines = append(lines, []string{a.what, a.figure(a.most), a.figure(a.got), a.verdict()})
	}
	writeTable(w, lines, 1)
}

func (a aim) figure(v float64) string {
	if a.unit == "" {
		return number(v, 2)
	}
	digits := 1
	if a.most < 1 {
		digits = 2
	}
	if math.IsNaN(v) {
		return number(v, digits)
	}
	return fmt.Sprintf("%.*f %s", digits, v, a.unit)
}

func (a aim) verdict() string {
	switch {
	case math.IsNaN(a.got) && a.how != "":
		return "not measured: " + a.how
	case math.IsNaN(a.got):
		return "not measured"
	case a.got <= a.most:
		return "met"
	}
	return "missed"
}

// find is a row by its name; one without samples where there is none.
func (t *table) find(name string) *row {
	for _, r := range t.rows {
		if r.name == name {
			return r
		}
	}
	return &row{}
}

func (t *table) median(name string) float64  { return t.find(name).values[portholeName].median() }
func (t *table) meanCPU(name string) float64 { return t.find(name).cpu[portholeName].mean() }

// ratio is Porthole's median to containerd's.
func (t *table) ratio(name string) float64 {
	r := t.find(name)
	return r.values[portholeName].median() / r.values[containerdName].median()
}
