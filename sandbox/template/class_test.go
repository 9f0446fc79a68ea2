package template

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSize_Holds(t *testing.T) {
	for _, tc := range []struct {
		name string
		size Size
		of   Class
		want bool
	}{
		{"same", Size{Class: Class{1, 256}}, Class{1, 256}, true},
		{"smaller_memory", Size{Class: Class{1, 320}}, Class{1, 256}, false},
		{"fewer_cpus", Size{Class: Class{2, 256}}, Class{1, 256}, false},
		{"twice", Size{Class: Class{1, 256}}, Class{2, 512}, true},
		{"more_memory", Size{Class: Class{1, 256}}, Class{1, 576}, false},
		{"more_cpus", Size{Class: Class{1, 256}}, Class{3, 256}, false},
		{"bounded", Size{Class: Class{1, 320}, Max: Class{0, 384}}, Class{1, 512}, false},
		{"at_bound", Size{Class: Class{1, 320}, Max: Class{1, 512}}, Class{1, 512}, true},
		{"asked_beyond_bound", Size{Class: Class{1, 320}, Max: Class{1, 256}}, Class{1, 320}, true},
	} {
		if got := tc.size.holds(tc.of); got != tc.want {
			t.Errorf("%s: %+v holds in %v: %v", tc.name, tc.size, tc.of, got)
		}
	}
}

func TestSize_Class(t *testing.T) {
	for _, tc := range []struct {
		size Size
		want Class
	}{
		{Size{Class: Class{1, 256}}, Class{1, 256}},
		{Size{Class: Class{1, 320}}, Class{1, 512}},
		{Size{Class: Class{3, 1088}}, Class{4, 2048}},
		{Size{Class: Class{3, 1088}, Max: Class{3, 1536}}, Class{3, 1536}},
		{Size{Class: Class{3, 1088}, Max: Class{2, 1024}}, Class{3, 1088}},
	} {
		got := tc.size.class()
		if got != tc.want || !tc.size.holds(got) {
			t.Errorf("class of %+v = %v, want %v, which holds it", tc.size, got, tc.want)
		}
	}
}

func TestDistinct(t *testing.T) {
	got := distinct([]Class{{2, 512}, {1, 256}, {1, 512}, {2, 512}})
	if diff := cmp.Diff([]Class{{1, 256}, {1, 512}, {2, 512}}, got); diff != "" {
		t.Error(diff)
	}
}
