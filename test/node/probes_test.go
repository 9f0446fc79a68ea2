package main

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestNode_Probes: the kubelet's four kinds of probes see a container that is well, that is
// sick and that is well again, and restart what they should.
func TestNode_Probes(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: c
    image: IMAGE
    startupProbe: {exec: {command: [sh, -c, "wget -q -O /dev/null http://127.0.0.1:8080/"]}, periodSeconds: 1, failureThreshold: 60}
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 5}
    livenessProbe: {grpc: {port: 9090}, periodSeconds: 2, failureThreshold: 3, timeoutSeconds: 5}
  - name: tcp
    image: IMAGE
    command: [sh, -c, "httpd -f -p 8081 & echo $! > /tmp/pid; sleep 3600"]
    readinessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, timeoutSeconds: 5}
    livenessProbe: {tcpSocket: {port: 8081}, periodSeconds: 2, failureThreshold: 3, timeoutSeconds: 5, initialDelaySeconds: 5, terminationGracePeriodSeconds: 1}
  - name: exec
    image: IMAGE
    command: [sh, -c, "touch /tmp/well; sleep 3600"]
    livenessProbe: {exec: {command: [test, -e, /tmp/well]}, periodSeconds: 2, failureThreshold: 2, timeoutSeconds: 5, initialDelaySeconds: 3, terminationGracePeriodSeconds: 1}
`)
	s.ready("web")
	s.must("exec", "web", "-c", "c", "--", "touch", "/tmp/sick")
	s.eventually("the pod is not ready", s.is("False", "get", "pod", "web", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`))
	s.must("exec", "web", "-c", "tcp", "--", "sh", "-c", "kill $(cat /tmp/pid)")
	s.must("exec", "web", "-c", "exec", "--", "rm", "/tmp/well")
	// A machine under load may restart one once more.
	s.eventually("each container is restarted, and the pod is ready", func() error {
		p := s.pod("web")
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount < 1 || !c.Ready {
				return fmt.Errorf("container %s: %d restarts, ready %v", c.Name, c.RestartCount, c.Ready)
			}
		}
		return nil
	})
	for _, c := range s.pod("web").Status.ContainerStatuses {
		if c.LastTerminationState.Terminated == nil {
			t.Errorf("container %s: no last state, want one that is terminated", c.Name)
		}
	}
	events := s.must("get", "events", "--field-selector=reason=Unhealthy", "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
	for _, want := range []string{"Readiness probe failed: HTTP probe failed with statuscode: 503", "Liveness probe failed: service unhealthy", "Liveness probe failed: dial tcp"} {
		if !strings.Contains(events, want) {
			t.Errorf("no event %q among\n%s", want, events)
		}
	}
}

// restarts is how often a pod's containers were restarted, in all.
func restarts(p *corev1.Pod) int32 {
	var n int32
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}
