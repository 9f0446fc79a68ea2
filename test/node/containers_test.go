package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestNode_Sidecars: init containers run in turn before all others, a sidecar starts between
// them and lives as long as the pod, and a Job with one still completes.
func TestNode_Sidecars(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 5
      volumes: [{name: v, emptyDir: {}}]
      initContainers:
      - {name: first, image: IMAGE, command: [sh, -c, "echo first >> /v/order"], volumeMounts: &v [{name: v, mountPath: /v}]}
      - name: sidecar
        image: IMAGE
        restartPolicy: Always
        command: [sh, -c, "trap 'echo sidecar ends; exit 0' TERM; echo sidecar >> /v/order; touch /v/up; while :; do sleep 0.2; done"]
        startupProbe: {exec: {command: [test, -e, /v/up]}, periodSeconds: 1, failureThreshold: 60}
        volumeMounts: *v
      - {name: second, image: IMAGE, command: [sh, -c, "echo second >> /v/order"], volumeMounts: *v}
      containers:
      - {name: c, image: IMAGE, command: [sh, -c, "echo main >> /v/order; tr '\\n' ' ' < /v/order"], volumeMounts: *v}
`)
	s.must("wait", "--for=condition=Complete", "--timeout="+patience.String(), "job/work")
	if got := s.must("logs", "job/work", "-c", "c"); got != "first sidecar second main " {
		t.Errorf("the order was %q", got)
	}
	if got := s.must("logs", "job/work", "-c", "sidecar"); got != "sidecar ends\n" {
		t.Errorf("the sidecar said %q, want that it was told to end", got)
	}
}

// TestNode_InitFails: an init container that fails is tried again, and nothing runs before
// it succeeds.
func TestNode_InitFails(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - {name: i, image: IMAGE, command: [sh, -c, "if [ -e /v/second ]; then exit 0; fi; touch /v/second; exit 3"], volumeMounts: [{name: v, mountPath: /v}]}
  containers: [{name: c, image: IMAGE}]
`)
	s.ready("late")
	init := s.pod("late").Status.InitContainerStatuses[0]
	if init.RestartCount != 1 || init.LastTerminationState.Terminated == nil || init.LastTerminationState.Terminated.ExitCode != 3 {
		t.Errorf("the init container's status is %+v, want one restart after exit code 3", init)
	}
}

// TestNode_Debug: an ephemeral container sees the processes of the pod that shares them, and
// of one that does not those of its target alone.
func TestNode_Debug(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: IMAGE}
  - {name: other, image: IMAGE, command: [sleep, "4242"]}
---
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: IMAGE}
  - {name: other, image: IMAGE, command: [sleep, "4242"]}
`)
	s.ready("shared")
	s.ready("own")
	for pod, want := range map[string]struct{ other bool }{"shared": {true}, "own": {false}} {
		s.must("debug", "pod/"+pod, "--image="+filled("IMAGE"), "--target=c", "--container=dbg", "--profile=general", "--", "sh", "-c", "ps -o args; echo end; sleep 3600")
		s.eventually("the debug container's output", func() error {
			out, err := s.try(t.Context(), "", "logs", pod, "-c", "dbg")
			if err != nil || !strings.Contains(out, "end\n") {
				return fmt.Errorf("%q, %w", out, err)
			}
			if !strings.Contains(out, "/probe serve") || strings.Contains(out, "sleep 4242") != want.other {
				t.Errorf("pod %s: it sees\n%swant the target's processes, and of the other container: %v", pod, out, want.other)
			}
			return nil
		})
	}
}

// TestNode_Identity: what a pod says about its names, users, rights and sysctls holds.
func TestNode_Identity(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: strict}
spec:
  hostname: box
  subdomain: sub
  hostAliases: [{ip: 192.0.2.7, hostnames: [seven.test]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [a.test], options: [{name: ndots, value: "2"}]}
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 3000
    supplementalGroups: [4000]
    supplementalGroupsPolicy: Strict
    seccompProfile: {type: RuntimeDefault}
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "80"}]
  containers:
  - name: c
    image: IMAGE
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}
    volumeMounts: [{name: tmp, mountPath: /tmp}]
  volumes: [{name: tmp, emptyDir: {}}]
`)
	s.ready("strict")
	for line, want := range map[string]string{
		"hostname": "box",
		"grep seven.test /etc/hosts | tr '\\t' ' '":                                    "192.0.2.7 seven.test",
		"grep -c box.sub." + s.name + ".svc.cluster.local /etc/hosts":                  "2",
		"cat /etc/resolv.conf":                                                         "search a.test\nnameserver 192.0.2.53\noptions ndots:2",
		"echo $(id -u):$(id -g):$(id -G)":                                              "1000:3000:3000 4000",
		"touch /x 2>/dev/null || echo no":                                              "no",
		"touch /tmp/x && echo yes":                                                     "yes",
		"awk '/^CapBnd|^NoNewPrivs|^Seccomp:/ {printf \"%s \", $2}' /proc/self/status": "0000000000000400 1 2",
		"cat /proc/sys/net/ipv4/ip_unprivileged_port_start":                            "80",
	} {
		out, err := s.try(t.Context(), "", "exec", "strict", "--", "sh", "-c", line)
		if got := strings.TrimSpace(out); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
}
