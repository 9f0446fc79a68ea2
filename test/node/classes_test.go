package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNode_RuntimeClasses: pods of several RuntimeClasses, those of deploy/kubernetes among
// them, run side by side, each in a VM as its handler says, and one whose handler is not
// there does not.
func TestNode_RuntimeClasses(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	for _, f := range []string{"runtimeclass-linux.yaml", "runtimeclass-linux-shared.yaml"} {
		s.must("apply", "-f", filepath.Join("../../deploy/kubernetes", f))
	}
	s.apply(`
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: big}
handler: big
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: none}
handler: none
---
apiVersion: v1
kind: Pod
metadata: {name: default}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE}]}
---
apiVersion: v1
kind: Pod
metadata: {name: linux}
spec: {runtimeClassName: porthole-linux, terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shared-1}
spec: {runtimeClassName: porthole-linux-shared, terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shared-2}
spec: {runtimeClassName: porthole-linux-shared, terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE}]}
---
apiVersion: v1
kind: Pod
metadata: {name: big}
spec: {runtimeClassName: big, terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE}]}
---
apiVersion: v1
kind: Pod
metadata: {name: none}
spec: {runtimeClassName: none, terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE}]}
`)
	s.ready("default", "linux", "big", "shared-1", "shared-2")
	for pod, want := range map[string]string{"default": "1 small", "linux": "1 small", "big": "2 large"} {
		out := s.exec(pod, `nproc | tr '\n' ' '; awk '/MemTotal/ {print ($2 > 400000) ? "large" : "small"}' /proc/meminfo`)
		if got := strings.TrimSpace(out); got != want {
			t.Errorf("pod %s has %q, want %q", pod, got, want)
		}
	}
	if got := s.must("get", "pod", "linux", "-o", "jsonpath={.spec.overhead.memory}"); got == "" {
		t.Error("the pod has no overhead")
	}
	// A kernel's id tells VMs apart.
	kernels := map[string][]string{}
	for _, pod := range []string{"default", "linux", "big", "shared-1", "shared-2"} {
		id := s.exec(pod, "cat /proc/sys/kernel/random/boot_id")
		kernels[id] = append(kernels[id], pod)
	}
	if shared := kernels[s.exec("shared-1", "cat /proc/sys/kernel/random/boot_id")]; len(kernels) != 4 || !slices.Equal(shared, []string{"shared-1", "shared-2"}) {
		t.Errorf("pods by their kernels are %v, want the two that share alone together", kernels)
	}
	s.eventually("why the pod with an unknown handler does not run", func() error {
		out := s.must("get", "events", "--field-selector=involvedObject.name=none,reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, "none") {
			return errNone
		}
		return nil
	})
	handlers := s.must("get", "node", "node1", "-o", "jsonpath={.status.runtimeHandlers[*].name}")
	for _, want := range []string{"linux", "linux-shared", "big"} {
		if !strings.Contains(handlers, want) {
			t.Errorf("the node's handlers are %q, want %s among them", handlers, want)
		}
	}
}
