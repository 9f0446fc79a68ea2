package main

import (
	"math"
	"slices"
)

const (
	portholeName   = "Porthole"
	containerdName = "containerd"
)

// unit is what a row's samples are in.
type unit struct {
	name  string
	digit int  // after the point
	rate  bool // more is better: the p95 column holds the slow end
}

var (
	milliseconds = unit{name: "ms", digit: 1}
	seconds      = unit{name: "s", digit: 2}
	rate         = unit{name: "MB/s", digit: 0, rate: true}
	mebibytes    = unit{name: "MiB", digit: 1}

	cpuSecondsUnit = unit{name: "CPU s", digit: 2}
)

// samples are the values of one row for one runtime.
type samples []float64

// quantile returns the q-quantile (0 to 1) by the nearest rank; NaN of no samples.
func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	// The small step down keeps 0.95 of 20 at rank 19, whatever floats make of it.
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func (s samples) median() float64 { return s.quantile(0.5) }

func (s samples) mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(len(s)) // NaN of no samples
}

// row is one thing that is measured, by runtime.
type row struct {
	name   string
	unit   unit
	values map[string]samples
	cpu    map[string]samples // seconds of the whole machine meanwhile, where read
}

// table holds rows in the order in which they were first added to.
type table struct{ rows []*row }

func (t *table) row(name string, u unit) *row {
	for _, r := range t.rows {
		if r.name == name {
			return r
		}
	}
	r := &row{name: name, unit: u, values: map[string]samples{}, cpu: map[string]samples{}}
	t.rows = append(t.rows, r)
	return r
}

// add records samples of one runtime.
func (t *table) add(name string, u unit, runtime string, v ...float64) {
	r := t.row(name, u)
	r.values[runtime] = append(r.values[runtime], v...)
}

// addCPU records the CPU seconds that belong to a sample.
func (t *table) addCPU(name string, u unit, runtime string, v float64) {
	r := t.row(name, u)
	r.cpu[runtime] = append(r.cpu[runtime], v)
}
