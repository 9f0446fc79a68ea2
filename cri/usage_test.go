package cri

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// fullUsage has a figure for everything.
func fullUsage() usage.Container {
	n := func(v uint64) *uint64 { return &v }
	p := &usage.Pressure{
		Some: usage.PressureTimes{Avg10: 1.5, Avg60: 0.5, Avg300: 0.25, Total: 3500 * time.Millisecond},
		Full: usage.PressureTimes{Avg10: 1, Total: time.Second},
	}
	return usage.Container{
		Group: &usage.Group{
			At: created,
			CPU: &usage.CPU{Usage: 7900 * time.Millisecond, User: 5 * time.Second, System: 2 * time.Second,
				Periods: 10, ThrottledPeriods: 3, Throttled: time.Second, Pressure: p},
			Memory: &usage.Memory{Usage: 1000, Limit: n(1500), Peak: n(1200), Anon: 300, File: 600, FileMapped: 50, InactiveFile: 400, Kernel: 100,
				PageFaults: 20, MajorPageFaults: 2, LimitHits: 6, OOMKills: 1, Swap: n(30), SwapLimit: n(40), Pressure: p},
			IO:        &usage.IO{Devices: []usage.Device{{Major: 8, Minor: 16, Name: "sdb", ReadBytes: 1, WriteBytes: 2, Reads: 3, Writes: 4}}, Pressure: p},
			Tasks:     &usage.Tasks{Processes: 2, Threads: 5, ThreadsLimit: n(100)},
			HugePages: []usage.HugePages{{Size: "2MB", Usage: 4 << 20}},
		},
		Writable: &usage.Writable{At: created, Bytes: 4096, Inodes: 3, CapacityBytes: 1 << 30, CapacityInodes: 1000, FreeInodes: 900},
		Open:     &usage.OpenFiles{Files: 9, Sockets: 2, Limit: n(1024)},
	}
}

// usageNode has a pod with one running container.
func usageNode(t *testing.T) *fakeNode {
	t.Helper()
	f := newFakeNode()
	f.usage = fullUsage()
	pod, err := f.RunPod(t.Context(), mustPod(t))
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.CreateContainer(t.Context(), pod, sandbox.ContainerConfig{
		Name: "main", Image: "registry.test/web:1", Labels: map[string]string{"a": "b"},
		Resources: sandbox.Resources{CPUPeriod: 100000, CPUQuota: 20000, CPUShares: 1024, MemoryLimit: 64 << 20, MemorySwapLimit: 64 << 20},
	})
	if err == nil {
		err = f.StartContainer(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestServer_Stats(t *testing.T) {
	f := usageNode(t)
	rt, _ := client(t, newTestServer(t, f, nil))
	got, err := rt.ListPodSandboxStats(t.Context(), &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	at := created.UnixNano()
	p := &runtimeapi.PsiStats{
		Some: &runtimeapi.PsiData{Total: 3.5e9, Avg10: 1.5, Avg60: 0.5, Avg300: 0.25},
		Full: &runtimeapi.PsiData{Total: 1e9, Avg10: 1},
	}
	cpu := &runtimeapi.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: number(7.9e9), UsageNanoCores: number(250e6), Psi: p}
	podCPU := &runtimeapi.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: number(7.9e9), Psi: p} // no rate is known
	memory := &runtimeapi.MemoryUsage{
		Timestamp: at, WorkingSetBytes: number(600), AvailableBytes: number(900), UsageBytes: number(1000), RssBytes: number(300),
		PageFaults: number(18), MajorPageFaults: number(2), Psi: p,
	}
	io := &runtimeapi.IoUsage{Timestamp: at, Psi: p}
	container := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: "ctr2", Metadata: &runtimeapi.ContainerMetadata{Name: "main"}, Labels: map[string]string{"a": "b"}},
		Cpu:        cpu, Memory: memory, Io: io,
		WritableLayer: &runtimeapi.FilesystemUsage{
			Timestamp: at, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/var/lib/porthole"}, UsedBytes: number(4096), InodesUsed: number(3)},
		Swap: &runtimeapi.SwapUsage{Timestamp: at, SwapUsageBytes: number(30), SwapAvailableBytes: number(10)},
	}
	want := []*runtimeapi.PodSandboxStats{{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: "pod1", Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "default", Uid: "u1"}, Labels: map[string]string{"app": "web"}},
		Linux: &runtimeapi.LinuxPodSandboxStats{
			Cpu: podCPU, Memory: memory, Io: io,
			Network: &runtimeapi.NetworkUsage{
				Timestamp:        at,
				DefaultInterface: &runtimeapi.NetworkInterfaceUsage{Name: "eth0", RxBytes: number(5), RxErrors: number(0), TxBytes: number(6), TxErrors: number(1)},
				Interfaces:       []*runtimeapi.NetworkInterfaceUsage{{Name: "net1", RxBytes: number(0), RxErrors: number(0), TxBytes: number(0), TxErrors: number(0)}},
			},
			Process:    &runtimeapi.ProcessUsage{Timestamp: at, ProcessCount: number(2)},
			Containers: []*runtimeapi.ContainerStats{container},
		},
	}}
	if diff := cmp.Diff(want, got.Stats, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list, err := rt.ListContainerStats(t.Context(), &runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{
		Id: "ctr2", PodSandboxId: "pod1", LabelSelector: map[string]string{"a": "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*runtimeapi.ContainerStats{container}, list.Stats, protocmp.Transform()); diff != "" {
		t.Errorf("ListContainerStats (-want +got):\n%s", diff)
	}
	none, err := rt.ListContainerStats(t.Context(), &runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{LabelSelector: map[string]string{"a": "c"}}})
	if err != nil || len(none.Stats) > 0 {
		t.Errorf("with another label: %v, %v, want none", none, err)
	}
	// What does not run has no figures, and no zeros either.
	if err := f.StopContainer(t.Context(), "ctr2", 0); err != nil {
		t.Fatal(err)
	}
	one, err := rt.ContainerStats(t.Context(), &runtimeapi.ContainerStatsRequest{ContainerId: "ctr2"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&runtimeapi.ContainerStats{Attributes: container.Attributes}, one.Stats, protocmp.Transform()); diff != "" {
		t.Errorf("of a container that has ended (-want +got):\n%s", diff)
	}
}

// cadvisorNames are the metrics that critest asks for, which are those that a kubelet of
// Kubernetes 1.37 has from cAdvisor. container_hugetlb_max_usage_bytes is not among them:
// cgroups of version 2 do not record it.
var cadvisorNames = strings.Fields(`
	container_blkio_device_usage_total container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total
	container_cpu_cfs_throttled_seconds_total container_cpu_system_seconds_total container_cpu_usage_seconds_total
	container_cpu_user_seconds_total container_file_descriptors container_fs_inodes_free container_fs_inodes_total
	container_fs_limit_bytes container_fs_reads_bytes_total container_fs_reads_total container_fs_usage_bytes
	container_fs_writes_bytes_total container_fs_writes_total container_hugetlb_usage_bytes container_last_seen
	container_memory_cache container_memory_failcnt container_memory_failures_total container_memory_kernel_usage
	container_memory_mapped_file container_memory_max_usage_bytes container_memory_rss container_memory_swap
	container_memory_usage_bytes container_memory_working_set_bytes container_network_receive_bytes_total
	container_network_receive_errors_total container_network_receive_packets_dropped_total
	container_network_receive_packets_total container_network_transmit_bytes_total container_network_transmit_errors_total
	container_network_transmit_packets_dropped_total container_network_transmit_packets_total container_oom_events_total
	container_pressure_cpu_stalled_seconds_total container_pressure_cpu_waiting_seconds_total
	container_pressure_io_stalled_seconds_total container_pressure_io_waiting_seconds_total
	container_pressure_memory_stalled_seconds_total container_pressure_memory_waiting_seconds_total container_processes
	container_sockets container_spec_cpu_period container_spec_cpu_quota container_spec_cpu_shares
	container_spec_memory_limit_bytes container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes
	container_start_time_seconds container_threads container_threads_max container_ulimits_soft`)

func TestServer_Metrics(t *testing.T) {
	rt, _ := client(t, newTestServer(t, usageNode(t), nil))
	descriptors, err := rt.ListMetricDescriptors(t.Context(), &runtimeapi.ListMetricDescriptorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]string{}
	for _, d := range descriptors.Descriptors {
		if keys[d.Name] != nil || d.Help == "" {
			t.Errorf("descriptor %s comes twice or has no help", d.Name)
		}
		keys[d.Name] = d.LabelKeys
	}
	metrics, err := rt.ListPodSandboxMetrics(t.Context(), &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil || len(metrics.PodMetrics) != 1 || len(metrics.PodMetrics[0].ContainerMetrics) != 1 {
		t.Fatalf("ListPodSandboxMetrics = %v, %v, want one pod with one container", metrics, err)
	}
	pod := metrics.PodMetrics[0]
	values := map[string]string{}
	for _, m := range slices.Concat(pod.Metrics, pod.ContainerMetrics[0].Metrics) {
		if len(m.LabelValues) != len(keys[m.Name]) {
			t.Errorf("%s has labels %q, its descriptor %q", m.Name, m.LabelValues, keys[m.Name])
			continue
		}
		if m.Timestamp != 0 {
			t.Errorf("%s has a time though it was not kept", m.Name)
		}
		name := m.Name
		for i, k := range keys[m.Name][len(baseLabels):] {
			name += " " + k + "=" + m.LabelValues[len(baseLabels)+i]
		}
		values[name] = fmt.Sprintf("%s %d", m.MetricType, m.Value.Value)
	}
	for _, name := range cadvisorNames {
		if !slices.ContainsFunc(slices.Concat(pod.Metrics, pod.ContainerMetrics[0].Metrics), func(m *runtimeapi.Metric) bool { return m.Name == name }) {
			t.Errorf("%s has no value", name)
		}
	}
	if len(keys) != len(cadvisorNames) {
		t.Errorf("%d descriptors, want %d", len(keys), len(cadvisorNames))
	}
	for name, want := range map[string]string{
		"container_cpu_usage_seconds_total cpu=total":                                        "COUNTER 7",
		"container_memory_working_set_bytes":                                                 "GAUGE 600",
		"container_memory_max_usage_bytes":                                                   "GAUGE 1200",
		"container_memory_failures_total failure_type=pgmajfault scope=container":            "COUNTER 2",
		"container_fs_writes_bytes_total device=/dev/sdb":                                    "COUNTER 2",
		"container_blkio_device_usage_total device=/dev/sdb major=8 minor=16 operation=Read": "COUNTER 1",
		"container_fs_usage_bytes device=":                                                   "GAUGE 4096",
		"container_network_transmit_bytes_total interface=eth0":                              "COUNTER 6",
		"container_pressure_memory_waiting_seconds_total":                                    "COUNTER 3",
		"container_pressure_memory_stalled_seconds_total":                                    "COUNTER 1",
		"container_spec_memory_limit_bytes":                                                  fmt.Sprintf("GAUGE %d", 64<<20),
		"container_start_time_seconds":                                                       fmt.Sprintf("GAUGE %d", created.Unix()),
		"container_threads_max":                                                              "GAUGE 100",
		"container_ulimits_soft ulimit=max_open_files":                                       "GAUGE 1024",
	} {
		if values[name] != want {
			t.Errorf("%s = %q, want %q", name, values[name], want)
		}
	}
	base := []string{"ctr2", "ctr2", "registry.test/web:1", "default", "web", "main"}
	if got := pod.ContainerMetrics[0].Metrics[0].LabelValues[:len(baseLabels)]; !slices.Equal(got, base) {
		t.Errorf("labels %q, want %q", got, base)
	}
}

// TestServer_MetricsWithout: what is not known is left out, and nothing panics on it.
func TestServer_MetricsWithout(t *testing.T) {
	f := usageNode(t)
	f.usage = usage.Container{Group: &usage.Group{At: created}}
	rt, _ := client(t, newTestServer(t, f, nil))
	metrics, err := rt.ListPodSandboxMetrics(t.Context(), &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metrics.PodMetrics[0].ContainerMetrics[0].Metrics {
		if !strings.HasPrefix(m.Name, "container_spec_") && m.Name != "container_last_seen" && m.Name != "container_start_time_seconds" {
			t.Errorf("%s = %d though nothing is known", m.Name, m.Value.Value)
		}
	}
	if _, err := rt.ListPodSandboxStats(t.Context(), &runtimeapi.ListPodSandboxStatsRequest{}); err != nil {
		t.Error(err)
	}
}

// received collects what a stream sends, and how many messages that took.
func received[M, T any](t *testing.T, recv func() (M, error), items func(M) []T) (all []T, messages int) {
	t.Helper()
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			return all, messages
		}
		if err != nil {
			t.Fatal(err)
		}
		part := items(m)
		if len(part) == 0 {
			t.Error("a message without items")
		}
		all = append(all, part...)
		messages++
	}
}

// TestServer_Streams: the streamed lists have what the plain ones have, also more than
// one message holds.
func TestServer_Streams(t *testing.T) {
	f := usageNode(t)
	for i := range 30 {
		id := fmt.Sprintf("big%02d", i)
		f.pods[id] = sandbox.Pod{ID: id, State: sandbox.PodReady, CreatedAt: created, Config: sandbox.PodConfig{
			Name: id, Annotations: map[string]string{"x": strings.Repeat("y", 700<<10)}}}
	}
	rt, im := client(t, newTestServer(t, f, nil))
	ctx := t.Context()
	if _, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("ListPodSandbox of more than a message: %v, want ResourceExhausted", err)
	}
	pods, err := rt.StreamPodSandboxes(ctx, &runtimeapi.StreamPodSandboxesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	all, messages := received(t, pods.Recv, (*runtimeapi.StreamPodSandboxesResponse).GetPodSandboxes)
	var ids []string
	for _, p := range all {
		ids = append(ids, p.Id)
	}
	if len(ids) != 31 || len(slices.Compact(ids)) != 31 || messages < 20 {
		t.Errorf("%d pods in %d messages, want 31, each once, in about as many", len(ids), messages)
	}
	containers, err := rt.StreamContainers(ctx, &runtimeapi.StreamContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := received(t, containers.Recv, (*runtimeapi.StreamContainersResponse).GetContainers); len(all) != 1 || all[0].Id != "ctr2" {
		t.Errorf("StreamContainers = %v", all)
	}
	none, err := rt.StreamContainers(ctx, &runtimeapi.StreamContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: "nope"}})
	if err != nil {
		t.Fatal(err)
	}
	if all, messages := received(t, none.Recv, (*runtimeapi.StreamContainersResponse).GetContainers); len(all)+messages > 0 {
		t.Errorf("an empty list: %v in %d messages, want none", all, messages)
	}
	stats, err := rt.StreamContainerStats(ctx, &runtimeapi.StreamContainerStatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := received(t, stats.Recv, (*runtimeapi.StreamContainerStatsResponse).GetContainerStats); len(all) != 1 || all[0].Cpu == nil {
		t.Errorf("StreamContainerStats = %v", all)
	}
	podStats, err := rt.StreamPodSandboxStats(ctx, &runtimeapi.StreamPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{Id: "pod1"}})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := received(t, podStats.Recv, (*runtimeapi.StreamPodSandboxStatsResponse).GetPodSandboxStats); len(all) != 1 || all[0].Linux == nil {
		t.Errorf("StreamPodSandboxStats = %v", all)
	}
	metrics, err := rt.StreamPodSandboxMetrics(ctx, &runtimeapi.StreamPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := received(t, metrics.Recv, (*runtimeapi.StreamPodSandboxMetricsResponse).GetPodSandboxMetrics); len(all) != 31 {
		t.Errorf("StreamPodSandboxMetrics: %d pods, want 31", len(all))
	}
	images, err := im.StreamImages(ctx, &runtimeapi.StreamImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := received(t, images.Recv, (*runtimeapi.StreamImagesResponse).GetImages); len(all) != 1 {
		t.Errorf("StreamImages = %v", all)
	}
}
