package main

import (
	"strings"
	"testing"
)

// TestNode_RuntimeClasses: pods of several RuntimeClasses run side by side, each in a VM as
// its handler says, and one whose handler is not there does not.
func TestNode_RuntimeClasses(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: linux}
handler: linux
overhead: {podFixed: {memory: 64Mi, cpu: 10m}}
---
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
spec: {runtimeClassName: linux, terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE}]}
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
	s.ready("default", "linux", "big")
	for pod, want := range map[string]string{"default": "1 small", "linux": "1 small", "big": "2 large"} {
		out := s.exec(pod, `nproc | tr '\n' ' '; awk '/MemTotal/ {print ($2 > 400000) ? "large" : "small"}' /proc/meminfo`)
		if got := strings.TrimSpace(out); got != want {
			t.Errorf("pod %s has %q, want %q", pod, got, want)
		}
	}
	if got := s.must("get", "pod", "linux", "-o", "jsonpath={.spec.overhead.memory}"); got != "64Mi" {
		t.Errorf("the overhead is %q", got)
	}
	s.eventually("why the pod with an unknown handler does not run", func() error {
		out := s.must("get", "events", "--field-selector=involvedObject.name=none,reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, "none") {
			return errNone
		}
		return nil
	})
	handlers := s.must("get", "node", "node1", "-o", "jsonpath={.status.runtimeHandlers[*].name}")
	for _, want := range []string{"linux", "big"} {
		if !strings.Contains(handlers, want) {
			t.Errorf("the node's handlers are %q, want %s among them", handlers, want)
		}
	}
}
