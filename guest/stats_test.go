package guest

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/usage"
)

// statsClient is connected to an agent that answers Stats with r.
func statsClient(t *testing.T, r *api.StatsResponse) *Client {
	t.Helper()
	a := &agent{stats: func() (*api.StatsResponse, error) { return r, nil }}
	c, err := Connect(testContext(t), newWire(t, a), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func soundStats() *api.StatsResponse {
	return &api.StatsResponse{
		Pods: []*api.PodStats{{
			PodId: "p", Group: &api.GroupStats{UnixNanos: 5, Tasks: &api.TaskStats{Processes: 2, Threads: 3, ThreadsLimit: proto.Uint64(math.MaxUint64)}},
			Interfaces: []*api.InterfaceStats{{Name: "eth0", RxBytes: 7}},
		}},
		Containers: []*api.ContainerStats{{
			ContainerId: "c",
			Group: &api.GroupStats{
				UnixNanos: 6,
				Cpu:       &api.CPUStats{UsageNanos: 10, Pressure: &api.Pressure{Some: &api.PressureTimes{Avg10: 100.5, TotalNanos: 9}}},
				Memory:    &api.MemoryStats{Usage: 100, InactiveFile: 30, Limit: proto.Uint64(500)},
				Io:        &api.IOStats{Devices: []*api.DeviceIO{{Major: 8, Name: "sda\n", ReadBytes: 4}}},
			},
			Writable:  &api.WritableStats{UnixNanos: 8, Bytes: 4096, Inodes: 1},
			OpenFiles: &api.OpenFiles{Files: 3, Sockets: 1},
		}},
	}
}

func TestClient_Stats(t *testing.T) {
	got, err := statsClient(t, soundStats()).Stats(testContext(t), true)
	if err != nil {
		t.Fatal(err)
	}
	limit := uint64(500)
	want := usage.VM{
		Pods: map[string]usage.Pod{"p": {
			Group:      &usage.Group{At: time.Unix(0, 5), Tasks: &usage.Tasks{Processes: 2, Threads: 3}}, // a limit of all there is limits nothing
			Interfaces: []usage.Interface{{Name: "eth0", RxBytes: 7}},
		}},
		Containers: map[string]usage.Container{"c": {
			Group: &usage.Group{
				At:     time.Unix(0, 6),
				CPU:    &usage.CPU{Usage: 10, Pressure: &usage.Pressure{Some: usage.PressureTimes{Avg10: 100, Total: 9}}},
				Memory: &usage.Memory{Usage: 100, InactiveFile: 30, Limit: &limit},
				IO:     &usage.IO{Devices: []usage.Device{{Major: 8, Name: "sda", ReadBytes: 4}}},
			},
			Writable: &usage.Writable{At: time.Unix(0, 8), Bytes: 4096, Inodes: 1},
			Open:     &usage.OpenFiles{Files: 3, Sockets: 1},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestClient_StatsHostile: what cannot be is refused, whole.
func TestClient_StatsHostile(t *testing.T) {
	tests := map[string]func(*api.StatsResponse){
		"cpu":        func(r *api.StatsResponse) { r.Containers[0].Group.Cpu.UsageNanos = math.MaxUint64 },
		"memory":     func(r *api.StatsResponse) { r.Containers[0].Group.Memory.Usage = 1 << 61 },
		"bytes":      func(r *api.StatsResponse) { r.Containers[0].Writable.Bytes = 1 << 63 },
		"traffic":    func(r *api.StatsResponse) { r.Pods[0].Interfaces[0].RxBytes = math.MaxUint64 },
		"nan":        func(r *api.StatsResponse) { r.Containers[0].Group.Cpu.Pressure.Some.Avg10 = math.NaN() },
		"negative":   func(r *api.StatsResponse) { r.Containers[0].Group.Cpu.Pressure.Some.Avg60 = -1 },
		"no_id":      func(r *api.StatsResponse) { r.Containers[0].ContainerId = "" },
		"long_id":    func(r *api.StatsResponse) { r.Pods[0].PodId = strings.Repeat("p", 5000) },
		"long_name":  func(r *api.StatsResponse) { r.Pods[0].Interfaces[0].Name = strings.Repeat("e", 5000) },
		"interfaces": func(r *api.StatsResponse) { r.Pods[0].Interfaces = make([]*api.InterfaceStats, 65) },
		"devices":    func(r *api.StatsResponse) { r.Containers[0].Group.Io.Devices = make([]*api.DeviceIO, 257) },
		"pages":      func(r *api.StatsResponse) { r.Containers[0].Group.HugePages = make([]*api.HugePages, 17) },
		"pods":       func(r *api.StatsResponse) { r.Pods = make([]*api.PodStats, 1025) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := soundStats()
			change(r)
			if got, err := checkStats(r); !errdefs.IsDataLoss(err) {
				t.Errorf("checkStats = %+v, %v, want DataLoss", got, err)
			}
		})
	}
}

// FuzzStats: whatever bytes a guest sends as figures, those that pass are within bounds.
func FuzzStats(f *testing.F) {
	b, err := proto.Marshal(soundStats())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r api.StatsResponse
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		vm, err := checkStats(&r)
		if err != nil {
			return
		}
		for id, c := range vm.Containers {
			if len(id) > maxID || c.Group == nil {
				continue
			}
			if c.Group.CPU != nil && (c.Group.CPU.Usage < 0 || c.Group.CPU.Usage > maxFigure) {
				t.Errorf("CPU time %d", c.Group.CPU.Usage)
			}
			if m := c.Group.Memory; m != nil && (m.WorkingSet() > m.Usage || m.Usage > maxFigure) {
				t.Errorf("memory %+v", m)
			}
		}
	})
}
