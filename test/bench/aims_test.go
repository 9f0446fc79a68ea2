package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// narrow takes the widths of columns out of a table.
var narrow = strings.NewReplacer(" ", "", "-", "")

func TestWriteAims(t *testing.T) {
	var b strings.Builder
	writeAims(&b, []aim{
		{what: "at its bound", most: 0.35, got: 0.35},
		{what: "above", most: 1.0, got: 1.004},
		{what: "memory", unit: "MiB", most: 64, got: 63.96},
		{what: "small", unit: "% of a core", most: 0.25, got: 0.2549},
		{what: "elsewhere", unit: "MiB", most: 25, got: math.NaN(), how: "`make other`"},
		{what: "left out", most: 1.1, got: math.NaN()},
	})
	want := "| aim          |           at most |          this run |                            |\n" +
		"||:|:|:|\n" +
		"| at its bound |              0.35 |              0.35 |                        met |\n" +
		"| above        |              1.00 |              1.00 |                     missed |\n" +
		"| memory       |          64.0 MiB |          64.0 MiB |                        met |\n" +
		"| small        | 0.25 % of a core | 0.25 % of a core |                     missed |\n" +
		"| elsewhere    |          25.0 MiB |                 – | not measured: `make other` |\n" +
		"| left out     |              1.10 |                 – |               not measured |\n"
	if diff := cmp.Diff(narrow.Replace(want), narrow.Replace(b.String())); diff != "" {
		t.Errorf("aims (-want +got):\n%s", diff)
	}
}

// What a run did not measure is said, and a figure that lacks its peer is none.
func TestReportAims(t *testing.T) {
	var r report
	for _, a := range r.aims() {
		if !math.IsNaN(a.got) {
			t.Errorf("%s of an empty run is %v", a.what, a.got)
		}
	}
	r.steps.add(stepRun, milliseconds, portholeName, 30)
	if got := r.aims()[0].got; !math.IsNaN(got) {
		t.Errorf("ratio to a peer that was not measured is %v", got)
	}
	r.steps.add(stepRun, milliseconds, containerdName, 60)
	r.boots.addCPU(stepBoot, milliseconds, portholeName, 0.5)
	r.boots.addCPU(stepBootPeer, milliseconds, portholeName, 2)
	r.layers.add(rowFlat, milliseconds, portholeName, 10)
	r.layers.add(rowDeep, milliseconds, portholeName, 12)
	r.pulls.add(rowOnePull, cpuSecondsUnit, portholeName, 4)
	r.pulls.add(rowManyPulls, cpuSecondsUnit, portholeName, 5)
	got := map[string]float64{}
	for _, a := range r.aims() {
		if !math.IsNaN(a.got) {
			got[a.what] = a.got
		}
	}
	want := map[string]float64{
		"RunPodSandbox, clone of a template, against containerd + runc":                  0.5,
		"boot to agent ready, CPU time, small kernel on microvm against Debian's on q35": 0.25,
		"10 pulls of one image at once against one, CPU time":                            1.25,
		"Create + StartContainer with 20 layers against 1":                               1.2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("aims (-want +got):\n%s", diff)
	}
}

func TestDensityAims(t *testing.T) {
	r := densityReport{idleVM: 0.125, idleShim: 0.0625, empty: podMemory{all: samples{10, 30, 20}}, busy: podMemory{all: samples{70}}}
	for i := range 2 * ends {
		r.starts = append(r.starts, float64(100+i/ends*50))
	}
	var got []float64
	for _, a := range r.aims() {
		got = append(got, a.got)
	}
	if diff := cmp.Diff([]float64{20, 70, 0.1875, 1.5}, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	if got := growth(r.starts[1:]); !math.IsNaN(got) {
		t.Errorf("growth of %d starts is %v: the first ten and the last are not apart", len(r.starts)-1, got)
	}
}

func TestParseCPU(t *testing.T) {
	got, err := parseCPU("13 (a ) b) S 1 13 13 0 -1 4194560 1 2 3 4 150 75 0 0 20 0 4 0 100\n")
	if err != nil || got != 2.25 {
		t.Errorf("parseCPU = %v, %v, want 2.25", got, err)
	}
	if _, err := parseCPU("13 (name) S 1"); err == nil {
		t.Error("a short line: no error")
	}
}
