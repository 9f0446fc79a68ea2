package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/porthole-run/porthole/test/node/cluster"
)

// TestNode_OOM: a container that takes more than its limit is killed and says why, and its
// pod's other container does not notice.
func TestNode_OOM(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: OnFailure
  containers:
  - {name: hog, image: IMAGE, command: [/probe, hog, "200"], resources: {limits: {memory: 64Mi, cpu: "1"}, requests: {cpu: 10m}}}
  - {name: c, image: IMAGE, resources: {limits: {memory: 64Mi, cpu: "1"}, requests: {cpu: 10m}}}
`)
	s.eventually("the container is killed, and tried again", func() error {
		for _, c := range s.pod("greedy").Status.ContainerStatuses {
			if c.Name != "hog" {
				if c.RestartCount > 0 {
					t.Fatalf("container %s was restarted: %+v", c.Name, c)
				}
				continue
			}
			last := c.LastTerminationState.Terminated
			if last == nil {
				last = c.State.Terminated
			}
			if last == nil || c.RestartCount == 0 {
				return fmt.Errorf("its status is %+v", c)
			}
			if last.Reason != "OOMKilled" || last.ExitCode != 137 {
				t.Errorf("it ended with %s, %d, want OOMKilled, 137", last.Reason, last.ExitCode)
			}
		}
		return nil
	})
}

// TestNode_Resize: a running container's limits change in place: in the guest's cgroup and
// in the pod's status, without a restart.
func TestNode_Resize(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: IMAGE
    resources: {limits: {memory: 64Mi, cpu: 500m}, requests: {memory: 64Mi, cpu: 100m}}
`)
	s.ready("web")
	const show = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max | tr '\\n' ' '"
	if got := strings.TrimSpace(s.exec("web", show)); got != "67108864 50000 100000" {
		t.Errorf("limits at first: %q", got)
	}
	s.must("patch", "pod", "web", "--subresource=resize", "-p",
		`{"spec":{"containers":[{"name":"c","resources":{"limits":{"memory":"96Mi","cpu":"750m"},"requests":{"memory":"96Mi"}}}]}}`)
	s.eventually("the new limits are in the guest", func() error {
		if got := strings.TrimSpace(s.exec("web", show)); got != "100663296 75000 100000" {
			return fmt.Errorf("they are %q", got)
		}
		return nil
	})
	s.eventually("the pod's status shows them", s.is("96Mi 750m", "get", "pod", "web", "-o",
		"jsonpath={.status.containerStatuses[0].resources.limits.memory} {.status.containerStatuses[0].resources.limits.cpu}"))
	if restarts(s.pod("web")) != 0 {
		t.Error("the container was restarted")
	}
}

// TestNode_Stats: the kubelet's summary, which metrics and eviction go by, has a pod's
// figures, and a container that writes more than it may is evicted for them. The kubelet
// reads a pod's CPU and memory from the pod's cgroup on the host: the VM is in it, as the
// class's overhead leaves room for it.
func TestNode_Stats(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	class, err := os.ReadFile("../../deploy/kubernetes/runtimeclass-linux.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.apply(strings.Replace(string(class), "name: porthole-linux", "name: stats", 1)) // the other is another test's
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: busy}
spec:
  runtimeClassName: stats
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, "dd if=/dev/zero of=/written bs=1M count=8; dd if=/dev/zero of=/v/written bs=1M count=4; /probe hog 40 & while :; do :; done"]
    volumeMounts: [{name: v, mountPath: /v}]
    resources: {limits: {memory: 128Mi, cpu: 300m}, requests: {cpu: 10m}}
---
apiVersion: v1
kind: Pod
metadata: {name: filler}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, "dd if=/dev/zero of=/big bs=1M count=40; sleep 3600"]
    resources: {limits: {ephemeral-storage: 20Mi}}
`)
	s.ready("busy")
	s.eventually("the summary has the pod's figures", func() error { return summary(s, "busy", figuresOfBusy) })
	s.eventually("the one that writes too much is evicted", s.is("Failed Evicted", "get", "pod", "filler", "-o", "jsonpath={.status.phase} {.status.reason}"))
	if p := s.pod("filler"); !strings.Contains(p.Status.Message, "ephemeral") {
		t.Errorf("it was evicted for %q", p.Status.Message)
	}
	if p := s.pod("busy"); p.Status.Phase != corev1.PodRunning {
		t.Errorf("the other pod is %s: %s", p.Status.Phase, p.Status.Message)
	}
	metrics := s.must("get", "--raw", "/api/v1/nodes/"+cluster.Node+"/proxy/metrics/resource")
	if want := fmt.Sprintf(`container_memory_working_set_bytes{container="c",namespace=%q,pod="busy"}`, s.name); !strings.Contains(metrics, want) {
		t.Errorf("/metrics/resource has no %s", want)
	}
}

// summary says what is missing from the kubelet's figures of a pod, by what wants returns.
func summary(s *space, pod string, wants func(statsv1alpha1.PodStats) map[string]bool) error {
	// A kubelet that was just started does not answer yet, though its node still counts as ready.
	text, err := s.try(s.Context(), "", "get", "--raw", "/api/v1/nodes/"+cluster.Node+"/proxy/stats/summary")
	if err != nil {
		return err
	}
	var sum statsv1alpha1.Summary
	if err := json.Unmarshal([]byte(text), &sum); err != nil {
		return err
	}
	for _, p := range sum.Pods {
		if p.PodRef.Namespace != s.name || p.PodRef.Name != pod || len(p.Containers) == 0 {
			continue
		}
		for what, ok := range wants(p) {
			if !ok {
				text, _ := json.Marshal(p)
				return fmt.Errorf("the %s is missing or too low: %s", what, text)
			}
		}
		return nil
	}
	return fmt.Errorf("the pod is none of %d", len(sum.Pods))
}

// figuresOfBusy are those of the pod of TestNode_Stats. The pod's memory is its VM's, with
// the guest's kernel and what QEMU takes.
func figuresOfBusy(p statsv1alpha1.PodStats) map[string]bool {
	c := p.Containers[0]
	return map[string]bool{
		"container's CPU":         c.CPU != nil && c.CPU.UsageCoreNanoSeconds != nil && *c.CPU.UsageCoreNanoSeconds > 1e8,
		"container's CPU rate":    c.CPU != nil && c.CPU.UsageNanoCores != nil && *c.CPU.UsageNanoCores > 1e7,
		"container's memory":      c.Memory != nil && c.Memory.WorkingSetBytes != nil && *c.Memory.WorkingSetBytes >= 40<<20,
		"container's file system": c.Rootfs != nil && c.Rootfs.UsedBytes != nil && *c.Rootfs.UsedBytes >= 8<<20,
		"pod's CPU":               p.CPU != nil && p.CPU.UsageCoreNanoSeconds != nil && *p.CPU.UsageCoreNanoSeconds > 1e8,
		"pod's memory":            p.Memory != nil && p.Memory.WorkingSetBytes != nil && *p.Memory.WorkingSetBytes >= 80<<20,
		"pod's disk":              p.EphemeralStorage != nil && p.EphemeralStorage.UsedBytes != nil && *p.EphemeralStorage.UsedBytes >= 12<<20,
		"volume":                  len(p.VolumeStats) > 0 && p.VolumeStats[0].UsedBytes != nil,
	}
}

// figuresFromRuntime are those of a pod that the kubelet has from the CRI alone: what its
// containers use in the guest, and with them its network and processes.
func figuresFromRuntime(p statsv1alpha1.PodStats) map[string]bool {
	c := p.Containers[0]
	return map[string]bool{
		"container's CPU":    c.CPU != nil && c.CPU.UsageCoreNanoSeconds != nil && *c.CPU.UsageCoreNanoSeconds > 0,
		"container's memory": c.Memory != nil && c.Memory.WorkingSetBytes != nil && *c.Memory.WorkingSetBytes > 0,
		"pod's CPU":          p.CPU != nil && p.CPU.UsageCoreNanoSeconds != nil && *p.CPU.UsageCoreNanoSeconds > 0,
		"pod's memory":       p.Memory != nil && p.Memory.WorkingSetBytes != nil && *p.Memory.WorkingSetBytes > 0 && *p.Memory.WorkingSetBytes < 64<<20,
		"pod's network":      p.Network != nil && p.Network.RxBytes != nil,
		"pod's processes":    p.ProcessStats != nil && p.ProcessStats.ProcessCount != nil && *p.ProcessStats.ProcessCount >= 1,
	}
}
