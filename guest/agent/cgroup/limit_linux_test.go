package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func number[T any](n T) *T { return &n }

func TestLimitFiles(t *testing.T) {
	memory := func(limit, swap *int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: limit, Swap: swap}}
	}
	cpu := func(c specs.LinuxCPU) *specs.LinuxResources { return &specs.LinuxResources{CPU: &c} }
	for _, tt := range []struct {
		name string
		r    *specs.LinuxResources
		want string
	}{
		{"nothing", &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}, ""},
		{"memory", memory(number[int64](1<<20), nil), "memory.max=1048576"},
		{"no_memory_limit", memory(number[int64](-1), nil), "memory.max=max"},
		{"memory_and_swap", memory(number[int64](1<<20), number[int64](3<<20)), "memory.max=1048576 memory.swap.max=2097152"},
		{"no_swap", memory(number[int64](1<<20), number[int64](1<<20)), "memory.max=1048576 memory.swap.max=0"},
		{"all_swap", memory(number[int64](1<<20), number[int64](-1)), "memory.max=1048576 memory.swap.max=max"},
		{"quota", cpu(specs.LinuxCPU{Quota: number[int64](50_000)}), "cpu.max=50000 100000"},
		{"quota_and_period", cpu(specs.LinuxCPU{Quota: number[int64](5_000), Period: number[uint64](10_000)}), "cpu.max=5000 10000"},
		{"no_quota", cpu(specs.LinuxCPU{Quota: number[int64](-1)}), "cpu.max=max 100000"},
		{"least_shares", cpu(specs.LinuxCPU{Shares: number[uint64](2)}), "cpu.weight=1"},
		{"usual_shares", cpu(specs.LinuxCPU{Shares: number[uint64](1024)}), "cpu.weight=39"},
		{"most_shares", cpu(specs.LinuxCPU{Shares: number[uint64](1 << 30)}), "cpu.weight=10000"},
		{"cpus", cpu(specs.LinuxCPU{Cpus: "0-1"}), "cpuset.cpus=0-1"},
		{"tasks", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: number[int64](10)}}, "pids.max=10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range limitFiles(tt.r) {
				got = append(got, fmt.Sprintf("%s=%s", f.name, f.text))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestFS_Limit writes limits where the kernel reads them, if this may.
func TestFS_Limit(t *testing.T) {
	c, dir := tree(t)
	for _, name := range []string{"memory.max", "cpu.max"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: number[int64](4096), Swap: number[int64](8192)}, // there is no memory.swap.max
		CPU:    &specs.LinuxCPU{Quota: number[int64](1000)},
	}
	if err := c.Limit("/pods/p", r); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"memory.max": "4096", "cpu.max": "1000 100000"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v, want %q", name, b, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "memory.swap.max")); err == nil {
		t.Error("a file that the kernel has not was made")
	}
	if err := c.Limit("/gone", r); err == nil {
		t.Error("Limit of a group that is gone = nil")
	}
}
