package cri

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
)

func TestWindowsKubelet_Stats(t *testing.T) {
	f := usageNode(t)
	rt, _ := client(t, windowsServer(t, f, recordedPods{}, nil))
	got, err := rt.PodSandboxStats(t.Context(), &runtimeapi.PodSandboxStatsRequest{PodSandboxId: "pod1"})
	if err != nil {
		t.Fatal(err)
	}
	at := created.UnixNano()
	memory := &runtimeapi.WindowsMemoryUsage{ // of 1000 bytes and 30 of swap, limited to 1500
		Timestamp: at, WorkingSetBytes: number(600), AvailableBytes: number(470), PageFaults: number(20), CommitMemoryBytes: number(1030),
	}
	want := &runtimeapi.WindowsPodSandboxStats{
		Cpu:    &runtimeapi.WindowsCpuUsage{Timestamp: at, UsageCoreNanoSeconds: number(7.9e9)},
		Memory: memory,
		Network: &runtimeapi.WindowsNetworkUsage{
			Timestamp: at,
			DefaultInterface: &runtimeapi.WindowsNetworkInterfaceUsage{
				Name: "eth0", RxBytes: number(5), RxPacketsDropped: number(0), TxBytes: number(6), TxPacketsDropped: number(0)},
			Interfaces: []*runtimeapi.WindowsNetworkInterfaceUsage{{
				Name: "net1", RxBytes: number(0), RxPacketsDropped: number(0), TxBytes: number(0), TxPacketsDropped: number(0)}},
		},
		Process: &runtimeapi.WindowsProcessUsage{Timestamp: at, ProcessCount: number(2)},
		Containers: []*runtimeapi.WindowsContainerStats{{
			Attributes: &runtimeapi.ContainerAttributes{Id: "ctr2", Metadata: &runtimeapi.ContainerMetadata{Name: "main"}, Labels: map[string]string{"a": "b"}},
			Cpu:        &runtimeapi.WindowsCpuUsage{Timestamp: at, UsageCoreNanoSeconds: number(7.9e9), UsageNanoCores: number(250e6)},
			Memory:     memory,
			WritableLayer: &runtimeapi.WindowsFilesystemUsage{
				Timestamp: at, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/var/lib/porthole"}, UsedBytes: number(4096)},
		}},
	}
	if diff := cmp.Diff(want, got.GetStats().GetWindows(), protocmp.Transform()); diff != "" {
		t.Errorf("windows (-want +got):\n%s", diff)
	}
	if got.GetStats().GetLinux().GetCpu() == nil {
		t.Error("the Linux figures are gone")
	}
	// What the guest does not tell is not made up.
	f.usage = usage.Container{}
	got, err = rt.PodSandboxStats(t.Context(), &runtimeapi.PodSandboxStatsRequest{PodSandboxId: "pod1"})
	if err != nil {
		t.Fatal(err)
	}
	w := got.GetStats().GetWindows()
	if w.GetCpu() != nil || w.GetMemory() != nil || w.GetNetwork() != nil || w.GetProcess() != nil || len(w.GetContainers()) != 1 {
		t.Errorf("without figures: %v", w)
	}
}

func TestWindowsKubelet_UpdateContainerResources(t *testing.T) {
	f := usageNode(t)
	rt, _ := client(t, windowsServer(t, f, recordedPods{}, nil))
	update := func(r *runtimeapi.UpdateContainerResourcesRequest) error {
		r.ContainerId = "ctr2"
		_, err := rt.UpdateContainerResources(t.Context(), r)
		return err
	}
	// A quarter of two processors.
	if err := update(&runtimeapi.UpdateContainerResourcesRequest{
		Windows: &runtimeapi.WindowsContainerResources{CpuMaximum: 2500, MemoryLimitInBytes: 128 << 20},
	}); err != nil {
		t.Fatal(err)
	}
	if r := f.containers["ctr2"].Config.Resources; r.CPUQuota != 50_000 || r.CPUPeriod != 100_000 || r.MemoryLimit != 128<<20 {
		t.Errorf("limits = %+v, want half a processor and 128 MiB", r)
	}
	for name, r := range map[string]*runtimeapi.UpdateContainerResourcesRequest{
		"both": {Windows: &runtimeapi.WindowsContainerResources{CpuMaximum: 1}, Linux: &runtimeapi.LinuxContainerResources{CpuQuota: 1000}},
		"none": {},
		"much": {Windows: &runtimeapi.WindowsContainerResources{CpuMaximum: 10_001}},
		"tiny": {Windows: &runtimeapi.WindowsContainerResources{MemoryLimitInBytes: 4096}},
	} {
		if err := update(r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		}
	}
	if err := update(&runtimeapi.UpdateContainerResourcesRequest{Windows: &runtimeapi.WindowsContainerResources{CpuShares: 7}}); status.Code(err) != codes.Unimplemented {
		t.Errorf("cpu_shares: %v, want Unimplemented", err)
	}
}
