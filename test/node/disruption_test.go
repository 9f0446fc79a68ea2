package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var errNone = errors.New("there is none yet")

// web is a Deployment with a readiness probe.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: c
        image: IMAGE
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 2, timeoutSeconds: 5}
`

// These tests have the node to themselves: they run before those that share it.

// TestNode_ManyPods: 30 pods that are asked for at once all become ready, answer under
// addresses of their own, and leave nothing when they go.
func TestNode_ManyPods(t *testing.T) {
	s := newSpace(t)
	const n = 30
	begin := time.Now()
	s.apply(fmt.Sprintf(web, n))
	s.must("rollout", "status", "deployment/web", "--timeout=8m")
	t.Logf("%d pods are ready after %s", n, time.Since(begin).Round(time.Second))
	names := map[string]bool{}
	for _, ip := range strings.Fields(s.must("get", "pods", "-o", "jsonpath={.items[*].status.podIP}")) {
		name, err := fetch(t.Context(), "http://"+ip+":8080/")
		if err != nil {
			t.Error(err)
		}
		names[name] = true
	}
	if len(names) != n {
		t.Errorf("%d pods answer by a name of their own, want %d", len(names), n)
	}
	if vms, err := k.Runtime.VMs(""); err != nil || len(vms) != n {
		t.Errorf("%d VMs run, %v, want %d", len(vms), err, n)
	}
	begin = time.Now()
	s.must("delete", "deployment", "web", "--cascade=foreground", "--timeout=5m")
	t.Logf("they are gone after %s", time.Since(begin).Round(time.Second))
	s.eventually("no VM is left", func() error {
		if vms, err := k.Runtime.VMs(""); err != nil || len(vms) > 0 {
			return fmt.Errorf("%d VMs run, %w", len(vms), err)
		}
		return nil
	})
}

// TestNode_KubeletRestart: pods go on while the kubelet is killed and started again, and it
// takes them for what they are: once with the gate by which it has all figures from the
// runtime, and once as the other tests have it.
func TestNode_KubeletRestart(t *testing.T) {
	s := newSpace(t)
	s.apply(fmt.Sprintf(web, 3))
	s.must("rollout", "status", "deployment/web", "--timeout="+patience.String())
	before := containers(s)
	if err := k.KillKubelet(); err != nil {
		t.Fatal(err)
	}
	for _, ip := range strings.Fields(s.must("get", "pods", "-o", "jsonpath={.items[*].status.podIP}")) {
		if _, err := fetch(t.Context(), "http://"+ip+":8080/"); err != nil {
			t.Errorf("without a kubelet: %v", err)
		}
	}
	restart := func(gates string) {
		k.Gates = gates
		if err := k.StartKubelet(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const gate = "PodAndContainerStatsFromCRI: true"
	restart(gate)
	defer func() { // other tests want the kubelet's defaults, also when this one fails
		if k.Gates == gate {
			k.Gates = ""
			_ = k.KillKubelet()
			_ = k.StartKubelet(context.Background())
		}
	}()
	pod := s.must("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
	s.eventually("the pod's figures are the runtime's", func() error { return summary(s, pod, figuresFromRuntime) })
	if err := k.KillKubelet(); err != nil {
		t.Fatal(err)
	}
	restart("")
	s.must("scale", "deployment/web", "--replicas=4")
	s.must("rollout", "status", "deployment/web", "--timeout="+patience.String())
	s.same(before)
}

// TestNode_RuntimeRestart: pods go on while the runtime is killed and started again amid pods
// that come and go, and all that was asked for is there in the end.
func TestNode_RuntimeRestart(t *testing.T) {
	s := newSpace(t)
	s.apply(fmt.Sprintf(web, 3))
	s.must("rollout", "status", "deployment/web", "--timeout="+patience.String())
	before := containers(s)
	for round := range 3 {
		s.apply(strings.ReplaceAll(fmt.Sprintf(web, 4), "web}", fmt.Sprintf("load%d}", round)))
		if round > 0 {
			s.must("delete", "deployment", fmt.Sprintf("load%d", round-1), "--wait=false")
		}
		time.Sleep(time.Duration(round+1) * 700 * time.Millisecond) // into the midst of it
		if err := k.Runtime.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, ip := range strings.Fields(s.must("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}")) {
			if _, err := fetch(t.Context(), "http://"+ip+":8080/"); err != nil {
				t.Errorf("round %d, without a runtime: %v", round, err)
			}
		}
		if err := k.Runtime.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.must("rollout", "status", "deployment/load2", "--timeout="+patience.String())
	s.same(before)
	s.eventually("what was deleted is gone", func() error {
		if out := s.must("get", "pods", "-l", "app in (load0,load1)", "-o", "name"); out != "" {
			return fmt.Errorf("left: %s", out)
		}
		return nil
	})
	s.eventually("each VM is a pod's", func() error {
		vms, err := k.Runtime.VMs("")
		if err != nil || len(vms) != 7 {
			return fmt.Errorf("%d VMs run, %w, want 7", len(vms), err)
		}
		return nil
	})
}

// containers are the ids of the containers in a namespace.
func containers(s *space) []string {
	s.Helper()
	return strings.Fields(s.must("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}"))
}

// same checks that containers are still there, and were not restarted.
func (s *space) same(before []string) {
	s.Helper()
	now := " " + strings.Join(containers(s), " ") + " "
	for _, id := range before {
		if !strings.Contains(now, " "+id+" ") {
			s.Errorf("container %s is gone: there are%s", id, now)
		}
	}
	if out := s.must("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"); strings.Trim(out, "0 ") != "" {
		s.Errorf("restarts: %s", out)
	}
}

// kernel is the release of the host's.
func kernel(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fileIs says how a file is other than wanted.
func fileIs(path, want string) error {
	got, err := os.ReadFile(path)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%s is %q, want %q", path, got, want)
	}
	return err
}

// timed is how long something takes.
func timed(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}
