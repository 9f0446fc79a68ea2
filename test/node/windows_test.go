package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/test/node/cluster"
)

// onWindows puts a pod onto the node with the Windows kubelet.
const onWindows = `
  runtimeClassName: linux-on-windows
  terminationGracePeriodSeconds: 5
`

// TestWindows: a Windows kubelet, under Wine, runs Linux pods through a porthole that takes
// it for one: in VMs, with probes, logs, exec, limits, and what its requests leave out.
func TestWindows(t *testing.T) {
	kube := os.Getenv("PORTHOLE_KUBE_WINDOWS")
	testneed.Within(t, k != nil && kube != "", "make test-winkubelet")
	testneed.Program(t, "x86_64-w64-mingw32-gcc")
	w, err := k.StartWindows(t.Context(), kube, os.Getenv("PORTHOLE_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(k.Logs(), "kubelet-windows.log"))
			t.Logf("log of the Windows kubelet\n%s\nlog of its runtime\n%s", log[max(0, len(log)-12000):], w.Runtime.LogTail())
		}
	})
	s := newSpace(t)
	s.apply(`
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: linux-on-windows}
handler: linux
scheduling:
  nodeSelector: {kubernetes.io/os: windows}
  tolerations: [{key: os, value: windows, effect: NoSchedule}]
`)
	t.Run("node", func(t *testing.T) {
		if got := s.in(t).must("get", "node", cluster.WindowsNode, "-o", "jsonpath={.status.nodeInfo.operatingSystem}"); got != "windows" {
			t.Errorf("the node's system is %q", got)
		}
	})
	for _, test := range []struct {
		name string
		run  func(*space, *cluster.Windows)
	}{
		{"security", windowsSecurity},
		{"probes", windowsProbes},
		{"streams", windowsStreams},
		{"limits", windowsLimits},
		{"job", windowsJob},
		{"volumes", windowsVolumes},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(s.in(t), w) })
	}
}

// windowsSecurity: what a Windows kubelet leaves out comes back from its Pods API.
func windowsSecurity(s *space, _ *cluster.Windows) {
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: strict}
spec:` + onWindows + `
  securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 4000, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: c
    image: IMAGE
    env: [{name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`)
	s.ready("strict")
	for line, want := range map[string]string{
		"echo $(id -u):$(id -g)":              "1000:3000",
		"id -G | tr ' ' '\\n' | grep -c 4000": "1",
		"touch /x 2>/dev/null || echo no":     "no",
		"awk '/^CapBnd|^NoNewPrivs|^Seccomp:/ {printf \"%s \", $2}' /proc/self/status": "0000000000000000 1 2",
		"echo $WHERE":                    cluster.WindowsNode,
		"hostname":                       "strict",
		"grep -c strict /etc/hosts":      "2", // IPv4 and IPv6
		"grep -c 10.96 /etc/resolv.conf": "1",
	} {
		out, err := s.try(s.Context(), "", "exec", "strict", "--", "sh", "-c", line)
		if got := strings.TrimSpace(out); err != nil || got != want {
			s.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
}

// windowsProbes: probes of all four kinds.
func windowsProbes(s *space, _ *cluster.Windows) {
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:` + onWindows + `
  containers:
  - name: c
    image: IMAGE
    startupProbe: {exec: {command: [sh, -c, "wget -q -O /dev/null http://127.0.0.1:8080/"]}, periodSeconds: 1, failureThreshold: 60, timeoutSeconds: 5}
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 5}
    livenessProbe: {grpc: {port: 9090}, periodSeconds: 2, failureThreshold: 2, timeoutSeconds: 5}
  - name: tcp
    image: IMAGE
    command: [httpd, -f, -p, "8081"]
    readinessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, timeoutSeconds: 5}
`)
	s.ready("probed")
	s.must("exec", "probed", "-c", "c", "--", "touch", "/tmp/sick")
	s.eventually("the container is restarted, and the pod is ready", func() error {
		for _, c := range s.pod("probed").Status.ContainerStatuses {
			if (c.Name == "c") != (c.RestartCount > 0) || !c.Ready {
				return fmt.Errorf("container %s: %d restarts, ready %v", c.Name, c.RestartCount, c.Ready)
			}
		}
		return nil
	})
}

// windowsStreams: logs, exec, attach and port-forward.
func windowsStreams(s *space, _ *cluster.Windows) {
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:` + onWindows + `
  containers:
  - {name: c, image: IMAGE}
  - {name: cat, image: IMAGE, stdin: true, command: [cat]}
  - {name: ticks, image: IMAGE, command: [sh, -c, "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.2; done"]}
`)
	s.ready("web")
	if out, err := s.try(s.Context(), "from stdin\n", "exec", "-i", "web", "--", "cat"); err != nil || out != "from stdin\n" {
		s.Errorf("exec = %q, %v", out, err)
	}
	followLogs(s.T, s)
	attach(s.T, s)
	forward(s.T, s)
}

// windowsVolumes: emptyDir, folders of drive C:, configuration in variables, and the account's
// token. (Wine makes no symbolic links: the files of projected volumes, and of ConfigMaps, are
// where these should point.)
func windowsVolumes(s *space, w *cluster.Windows) {
	if err := os.MkdirAll(w.Path(`C:\data`), 0o777); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(w.Path(`C:\data\there`), []byte("from the drive\n"), 0o644); err != nil {
		s.Fatal(err)
	}
	s.apply(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: one}
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:` + onWindows + `
  containers:
  - name: a
    image: IMAGE
    env: [{name: KEY, valueFrom: {configMapKeyRef: {name: settings, key: key}}}]
    volumeMounts: &mounts
    - {name: disk, mountPath: /disk}
    - {name: host, mountPath: /host}
  - {name: b, image: IMAGE, command: [sleep, "3600"], volumeMounts: *mounts}
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: host, hostPath: {path: "C:\\data"}}
`)
	s.ready("two")
	s.must("exec", "two", "-c", "a", "--", "sh", "-c", "echo $KEY > /disk/x; echo 2 > /host/x")
	if got := s.must("exec", "two", "-c", "b", "--", "sh", "-c", "cat /disk/x /host/x /host/there | tr '\\n' ' '"); got != "one 2 from the drive " {
		s.Errorf("the other container reads %q", got)
	}
	if err := fileIs(w.Path(`C:\data\x`), "2\n"); err != nil {
		s.Error(err)
	}
	s.eventually("the API server knows the token", func() error {
		const line = "cd /var/run/secrets/kubernetes.io/serviceaccount/..2*/ && /probe get -ca ca.crt -token token https://$KUBERNETES_SERVICE_HOST/api/v1/namespaces/default/pods"
		out, _ := s.try(s.Context(), "", "exec", "two", "-c", "a", "--", "sh", "-c", line)
		if who := "system:serviceaccount:" + s.name + ":default"; !strings.Contains(out, who) {
			return fmt.Errorf("it answers %q, want that it names %s", out, who)
		}
		return nil
	})
	vms, err := w.Runtime.VMs("")
	if err != nil {
		s.Fatal(err)
	}
	before := len(vms)
	s.must("delete", "pod", "two", "--wait=false")
	s.eventually("its VM is gone", func() error {
		vms, err := w.Runtime.VMs("")
		if err != nil || len(vms) >= before {
			return fmt.Errorf("%d VMs run, %w, want fewer than %d", len(vms), err, before)
		}
		return nil
	})
}

// windowsLimits: limits hold in the guest, and one that is passed is told.
func windowsLimits(s *space, _ *cluster.Windows) {
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:` + onWindows + `
  restartPolicy: Never
  containers:
  - {name: hog, image: IMAGE, command: [/probe, hog, "200"], resources: {limits: {memory: 64Mi, cpu: 500m}}}
  - {name: c, image: IMAGE, resources: {limits: {memory: 64Mi, cpu: 500m}}}
`)
	s.eventually("the container is killed for its memory", func() error {
		for _, c := range s.pod("greedy").Status.ContainerStatuses {
			if ended := c.State.Terminated; c.Name == "hog" && (ended == nil || ended.Reason != "OOMKilled" || ended.ExitCode != 137) {
				return fmt.Errorf("its state is %+v", c.State)
			}
		}
		return nil
	})
	if got := s.must("exec", "greedy", "-c", "c", "--", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max"); got != "67108864\n50000 100000\n" {
		s.Errorf("the other container's limits are %q", got)
	}
}

// windowsJob: a container's end, its exit code and its last words.
func windowsJob(s *space, _ *cluster.Windows) {
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:` + onWindows + `
  restartPolicy: Never
  initContainers: [{name: i, image: IMAGE, command: ["true"]}]
  containers: [{name: c, image: IMAGE, command: [sh, -c, "echo it broke > /dev/termination-log; exit 9"]}]
`)
	s.eventually("the pod has failed, and says why", func() error {
		st := s.pod("once").Status
		if len(st.ContainerStatuses) == 0 || st.ContainerStatuses[0].State.Terminated == nil {
			return fmt.Errorf("it is %s", st.Phase)
		}
		if ended := st.ContainerStatuses[0].State.Terminated; ended.ExitCode != 9 || strings.TrimSpace(ended.Message) != "it broke" {
			return fmt.Errorf("it ended with %+v", ended)
		}
		return nil
	})
}
