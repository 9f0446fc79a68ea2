//go:build linux

package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/porthole-run/porthole/guest/api"
)

func TestAgent_Stats(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if err := lifecycle(t.Context(), h, podRequest(), containerRequest("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateContainer(t.Context(), containerRequest("d")); err != nil {
		t.Fatal(err)
	}
	got, err := h.Stats(t.Context(), &api.StatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	group := &api.GroupStats{
		UnixNanos: 7e9,
		Cpu: &api.CPUStats{UsageNanos: 1e9, Pressure: &api.Pressure{
			Some: &api.PressureTimes{Avg10: 2, TotalNanos: 3}, Full: &api.PressureTimes{}}},
		Memory: &api.MemoryStats{Usage: 10, Limit: proto.Uint64(64)},
		Io:     &api.IOStats{Devices: []*api.DeviceIO{{Major: 8, Minor: 1, Name: "sda1", Reads: 4}}},
		Tasks:  &api.TaskStats{Processes: 1, Threads: 2},
	}
	container := func(id string, project uint64) *api.ContainerStats {
		return &api.ContainerStats{ContainerId: id, Group: group, Writable: &api.WritableStats{UnixNanos: 8e9, Bytes: 4096, Inodes: project}}
	}
	want := &api.StatsResponse{
		Pods: []*api.PodStats{{PodId: "p", Group: group, Interfaces: []*api.InterfaceStats{{Name: "eth0", RxBytes: 5, TxBytes: 6}}}},
		// Each container's layer is a project of its own.
		Containers: []*api.ContainerStats{container("c", 1), container("d", 2)},
	}
	byID := protocmp.SortRepeated(func(a, b *api.ContainerStats) bool { return a.ContainerId < b.ContainerId })
	if diff := cmp.Diff(want, got, protocmp.Transform(), byID); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err = h.Stats(t.Context(), &api.StatsRequest{OpenFiles: true}); err != nil {
		t.Fatal(err)
	}
	o := got.Containers[0].GetOpenFiles()
	if o.GetFiles() != 3 || o.GetSockets() != 1 || o.GetLimit() == 0 {
		t.Errorf("open files: %v, want 3, 1 socket and the limit of a process of this machine", o)
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Fatal(err)
	}
	got, err = h.Stats(t.Context(), &api.StatsRequest{})
	if err != nil || len(got.Pods)+len(got.Containers) != 0 {
		t.Errorf("after RemovePod: %v, %v, want nothing", got, err)
	}
}
