package dialect

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func linux(t *testing.T, text string) *runtimeapi.LinuxContainerResources {
	t.Helper()
	out := &runtimeapi.LinuxContainerResources{}
	if err := protojson.Unmarshal([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func diffResources(t *testing.T, want string, got *runtimeapi.LinuxContainerResources) {
	t.Helper()
	if diff := cmp.Diff(linux(t, want), got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestContainerResources(t *testing.T) {
	for name, tt := range map[string]struct {
		qos             corev1.PodQOSClass
		resources, want string
	}{
		"none":       {corev1.PodQOSBestEffort, `{}`, `{"cpuPeriod":"100000","cpuShares":"2","oomScoreAdj":"1000"}`},
		"guaranteed": {corev1.PodQOSGuaranteed, `{"limits":{"cpu":"1500m","memory":"64Mi"},"requests":{"cpu":"1500m","memory":"64Mi"}}`, `{"cpuPeriod":"100000","cpuQuota":"150000","cpuShares":"1536","memoryLimitInBytes":"67108864","oomScoreAdj":"-997"}`},
		"burstable":  {corev1.PodQOSBurstable, `{"limits":{"cpu":"2"},"requests":{"cpu":"250m","memory":"256Mi"}}`, `{"cpuPeriod":"100000","cpuQuota":"200000","cpuShares":"256","oomScoreAdj":"750"}`},
		"limit_only": {corev1.PodQOSBurstable, `{"limits":{"cpu":"1"}}`, `{"cpuPeriod":"100000","cpuQuota":"100000","cpuShares":"1024","oomScoreAdj":"999"}`},
		"tiny":       {corev1.PodQOSBurstable, `{"limits":{"cpu":"1m"},"requests":{"memory":"1Gi"}}`, `{"cpuPeriod":"100000","cpuQuota":"1000","cpuShares":"2","oomScoreAdj":"3"}`},
		"request_0":  {corev1.PodQOSBurstable, `{"limits":{"cpu":"1"},"requests":{"cpu":"0"}}`, `{"cpuPeriod":"100000","cpuQuota":"100000","cpuShares":"2","oomScoreAdj":"999"}`},
		"huge_pages": {corev1.PodQOSBurstable, `{"limits":{"hugepages-2Mi":"4Mi","hugepages-1Gi":"1Gi"}}`, `{"cpuPeriod":"100000","cpuShares":"2","oomScoreAdj":"999","hugepageLimits":[{"pageSize":"1GB","limit":"1073741824"},{"pageSize":"2MB","limit":"4194304"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			pod, c := podOf(t, `{"containers":[{"name":"c","resources":`+tt.resources+`}]}`)
			pod.Status.QOSClass = tt.qos
			diffResources(t, tt.want, newWindows(t, nil).containerResources(pod, c))
		})
	}
}

func TestOOMScore(t *testing.T) {
	pod, _ := podOf(t, `{"initContainers":[{"name":"side","restartPolicy":"Always","resources":{"requests":{"memory":"1Mi"}}}],
		"containers":[{"name":"c","resources":{"requests":{"memory":"512Mi"}}},{"name":"d","resources":{"requests":{"memory":"256Mi"}}}]}`)
	pod.Status.QOSClass = corev1.PodQOSBurstable
	side, _, _ := find(pod, "side")
	if got := newWindows(t, nil).oomScore(pod, side); got != 750 {
		t.Errorf("sidecar = %d, want 750, that of the container that asks for least", got)
	}
	pod.Spec.PriorityClassName = "system-node-critical"
	if got := newWindows(t, nil).oomScore(pod, side); got != -997 {
		t.Errorf("node critical = %d, want -997", got)
	}
	pod.Spec.PriorityClassName = ""
	if got := newWindows(t, func(c *Config) { c.MemoryBytes = 0 }).oomScore(pod, side); got != 999 {
		t.Errorf("memory not known = %d, want 999", got)
	}
}

func TestPodResources(t *testing.T) {
	pod, _ := podOf(t, `{
		"initContainers":[
			{"name":"first","resources":{"limits":{"cpu":"4","memory":"10Mi"},"requests":{"cpu":"3"}}},
			{"name":"side","restartPolicy":"Always","resources":{"limits":{"cpu":"500m","memory":"100Mi"},"requests":{"cpu":"100m"}}},
			{"name":"last","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}],
		"containers":[
			{"name":"c","resources":{"limits":{"cpu":"1","memory":"200Mi"},"requests":{"cpu":"500m"}}},
			{"name":"d","resources":{"limits":{"cpu":"250m"}}}]}`)
	// CPU: the first one's 4; memory: the last one's beside the sidecar.
	diffResources(t, `{"cpuPeriod":"100000","cpuQuota":"400000","cpuShares":"3072","memoryLimitInBytes":"1178599424"}`, podResources(pod))
}

func TestLimits(t *testing.T) {
	w := newWindows(t, nil)
	for in, want := range map[string]string{
		`{}`:                                 `{}`,
		`{"cpuMaximum":"1250"}`:              `{"cpuPeriod":"100000","cpuQuota":"50000"}`, // of 4 processors
		`{"cpuMaximum":"10000"}`:             `{"cpuPeriod":"100000","cpuQuota":"400000"}`,
		`{"cpuMaximum":"1"}`:                 `{"cpuPeriod":"100000","cpuQuota":"1000"}`,
		`{"cpuCount":"2","cpuMaximum":"1"}`:  `{"cpuPeriod":"100000","cpuQuota":"200000"}`,
		`{"memoryLimitInBytes":"134217728"}`: `{"memoryLimitInBytes":"134217728"}`,
	} {
		r := &runtimeapi.WindowsContainerResources{}
		if err := protojson.Unmarshal([]byte(in), r); err != nil {
			t.Fatal(err)
		}
		got, err := w.Limits("f", r)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		diffResources(t, want, got)
	}
	for in, field := range map[string]string{
		`{"cpuMaximum":"10001"}`: "f.cpu_maximum", `{"cpuMaximum":"-1"}`: "f.cpu_maximum", `{"cpuCount":"-1"}`: "f.cpu_count",
		`{"memoryLimitInBytes":"-1"}`: "f.memory_limit_in_bytes", `{"cpuShares":"5"}`: "f.cpu_shares",
		`{"rootfsSizeInBytes":"5"}`: "f.rootfs_size_in_bytes", `{"affinityCpus":[{}]}`: "f.affinity_cpus",
	} {
		r := &runtimeapi.WindowsContainerResources{}
		if err := protojson.Unmarshal([]byte(in), r); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Limits("f", r); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s = %v, want one that names %s", in, err, field)
		}
	}
}

// TestShowResources_IsTheKubelets: whatever limit a spec has, status shows the kubelet the
// very numbers that it sent for it.
func TestShowResources_IsTheKubelets(t *testing.T) {
	for _, processors := range []int64{1, 2, 3, 4, 7, 64, 192} {
		w := newWindows(t, func(c *Config) { c.Processors = int(processors) })
		for milli := int64(10); milli < 20_000; milli += 7 {
			sent := min(max(10*milli/processors, 1), cpuMaximum) // the kubelet's calculateCPUMaximum
			r := calculate(0, false, milli, 1<<20)
			if got := w.ShowResources(r); !proto.Equal(got, &runtimeapi.WindowsContainerResources{CpuMaximum: sent, MemoryLimitInBytes: 1 << 20}) {
				t.Fatalf("%dm on %d processors shows as %v, want cpu_maximum %d", milli, processors, got, sent)
			}
		}
	}
	w := newWindows(t, nil)
	for _, quota := range []int64{-1, 0} {
		if got := w.ShowResources(&runtimeapi.LinuxContainerResources{CpuQuota: quota}); got.GetCpuMaximum() != 0 {
			t.Errorf("quota %d shows as %v", quota, got)
		}
	}
	if got := w.ShowResources(&runtimeapi.LinuxContainerResources{CpuQuota: 1 << 62, CpuPeriod: 1}); got.GetCpuMaximum() != cpuMaximum && got.GetCpuMaximum() != 1 {
		t.Errorf("an absurd quota shows as %v", got)
	}
}

func TestNew_Refuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no_pods": {Processors: 1}, "no_processors": {Pods: onePod{}}, "drive": {Pods: onePod{}, Processors: 1, SystemDrive: `C:\`},
		"drives": {Pods: onePod{}, Processors: 1, Drives: map[string]string{"C": "/c"}}, "memory": {Pods: onePod{}, Processors: 1, MemoryBytes: -1},
	} {
		if _, err := New(c); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: New = %v, want invalid argument", name, err)
		}
	}
}
