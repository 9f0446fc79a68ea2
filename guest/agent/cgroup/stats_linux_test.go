package cgroup

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/porthole-run/porthole/internal/usage"
)

const pressure = "some avg10=1.50 avg60=0.25 avg300=0.01 total=7\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=3\n"

// statTree is a group with another below it, as the kernel fills them.
func statTree(t *testing.T, files map[string]string) *FS {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, "g", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return New(root)
}

func TestStats(t *testing.T) {
	c := statTree(t, map[string]string{
		"cpu.stat":       "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 8\nnr_bursts 0\n",
		"cpu.pressure":   pressure,
		"memory.current": "1000\n", "memory.max": "max\n", "memory.peak": "1500\n",
		"memory.stat":   "anon 300\nfile 600\nkernel 100\nfile_mapped 50\ninactive_file 400\npgfault 20\npgmajfault 2\n",
		"memory.events": "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n",
		"io.stat":       "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:0 \n",
		"pids.current":  "5\n", "pids.max": "100\n", "cgroup.procs": "11\n12\n", "below/cgroup.procs": "13\n",
		"hugetlb.2MB.current": "4194304\n", "hugetlb.2MB.rsvd.current": "1\n",
	})
	got, err := c.Stats("g")
	if err != nil {
		t.Fatal(err)
	}
	number := func(n uint64) *uint64 { return &n }
	us := time.Microsecond
	psi := &usage.Pressure{
		Some: usage.PressureTimes{Avg10: 1.5, Avg60: 0.25, Avg300: 0.01, Total: 7 * us},
		Full: usage.PressureTimes{Avg10: 0.5, Total: 3 * us},
	}
	want := usage.Group{
		CPU: &usage.CPU{Usage: 3000 * us, User: 2000 * us, System: 1000 * us, Periods: 9, ThrottledPeriods: 4, Throttled: 8 * us, Pressure: psi},
		Memory: &usage.Memory{
			Usage: 1000, Peak: number(1500), Anon: 300, File: 600, FileMapped: 50, InactiveFile: 400, Kernel: 100,
			PageFaults: 20, MajorPageFaults: 2, LimitHits: 6, OOMKills: 1,
		},
		IO:        &usage.IO{Devices: []usage.Device{{Major: 8, Minor: 16, ReadBytes: 1, WriteBytes: 2, Reads: 3, Writes: 4}}},
		Tasks:     &usage.Tasks{Processes: 3, Threads: 5, ThreadsLimit: number(100)},
		HugePages: []usage.HugePages{{Size: "2MB", Usage: 4 << 20}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(usage.Group{}, "At"), cmpopts.IgnoreFields(usage.Device{}, "Name")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Memory.WorkingSet() != 600 || got.Memory.Available() != nil {
		t.Errorf("working set %d, available %v, want 600 and none", got.Memory.WorkingSet(), got.Memory.Available())
	}
}

// TestStats_Without: what the kernel does not count is not zero but missing.
func TestStats_Without(t *testing.T) {
	c := statTree(t, map[string]string{"cpu.stat": "usage_usec 1\n", "cpu.pressure": ""})
	got, err := c.Stats("g")
	if err != nil {
		t.Fatal(err)
	}
	want := usage.Group{CPU: &usage.CPU{Usage: time.Microsecond}, IO: &usage.IO{}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(usage.Group{}, "At")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := c.Stats("gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stats of a group that is gone: %v, want fs.ErrNotExist", err)
	}
}

// TestOpenFiles counts this test's own files.
func TestOpenFiles(t *testing.T) {
	c := statTree(t, map[string]string{"below/cgroup.procs": strconv.Itoa(os.Getpid()) + "\n"})
	before, ok := c.OpenFiles("g", 10000)
	if !ok {
		t.Fatal("too many files")
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	after, _ := c.OpenFiles("g", 10000)
	if after.Sockets != before.Sockets+1 || after.Files <= before.Files {
		t.Errorf("with one socket more: %+v, before %+v", after, before)
	}
	if _, ok := c.OpenFiles("g", 2); ok {
		t.Error("2 files at most: counted more")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(pressure)
	f.Add("8:16 rbytes=1 wbytes=2 rios=3 wios=4\n")
	f.Add("usage_usec 18446744073709551615\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n := len(parseIO(text, 3)); n > 3 {
			t.Errorf("%d devices", n)
		}
		if p := parsePressure(text); p != nil && (p.Some.Total < 0 || p.Full.Total < 0) {
			t.Errorf("negative time: %+v", p)
		}
		for _, n := range parseFlat(text) {
			if micros(n) < 0 {
				t.Errorf("micros(%d) is negative", n)
			}
		}
	})
}
