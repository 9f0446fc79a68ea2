package main

import (
	"math"
	"testing"
)

func TestQuantile(t *testing.T) {
	var twenty samples
	for i := 20; i >= 1; i-- {
		twenty = append(twenty, float64(i))
	}
	for _, c := range []struct {
		name string
		s    samples
		q    float64
		want float64
	}{
		{"least", twenty, 0, 1},
		{"slow_end_of_a_rate", twenty, 0.05, 1},
		{"median_of_even", twenty, 0.5, 10},
		{"p95", twenty, 0.95, 19},
		{"greatest", twenty, 1, 20},
		{"median_of_odd", samples{3, 1, 2}, 0.5, 2},
		{"p95_of_ten", twenty[:10], 0.95, 20},
		{"single", samples{7}, 0.95, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.s.quantile(c.q); got != c.want {
				t.Errorf("quantile(%v) = %v, want %v", c.q, got, c.want)
			}
		})
	}
	if got := (samples)(nil).median(); !math.IsNaN(got) {
		t.Errorf("median of nothing = %v, want NaN", got)
	}
	if twenty[0] != 20 {
		t.Error("quantile changed the order of the samples")
	}
}

func TestMean(t *testing.T) {
	if got := (samples{1, 2, 6}).mean(); got != 3 {
		t.Errorf("mean = %v, want 3", got)
	}
	if got := (samples)(nil).mean(); !math.IsNaN(got) {
		t.Errorf("mean of nothing = %v, want NaN", got)
	}
}
