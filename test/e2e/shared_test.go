package e2e

import (
	"encoding/json"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// tryShared runs a pod of the handler whose pods share VMs.
func tryShared(t *testing.T, s *server, namespace, name string, change ...func(*cri.PodSandboxConfig)) (*pod, error) {
	t.Helper()
	c := podConfig(t)
	c.Metadata.Namespace, c.Metadata.Name = namespace, name
	for _, f := range change {
		f(c)
	}
	r, err := s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c, RuntimeHandler: "linux-shared"})
	if err != nil {
		return nil, err
	}
	p := &pod{t: t, s: s, id: r.PodSandboxId, config: c}
	t.Cleanup(p.remove)
	return p, nil
}

func runShared(t *testing.T, s *server, namespace, name string, change ...func(*cri.PodSandboxConfig)) *pod {
	t.Helper()
	p, err := tryShared(t, s, namespace, name, change...)
	if err != nil {
		t.Fatalf("RunPodSandbox(%s/%s): %v", namespace, name, err)
	}
	return p
}

// vm is the id of the pod's VM.
func (p *pod) vm() string {
	p.t.Helper()
	r, err := p.s.PodSandboxStatus(testContext(p.t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil {
		p.t.Fatalf("PodSandboxStatus: %v", err)
	}
	var info struct {
		VM string `json:"vm"`
	}
	if err := json.Unmarshal([]byte(r.Info["info"]), &info); err != nil {
		p.t.Fatal(err)
	}
	return info.VM
}

const bootID = "cat /proc/sys/kernel/random/boot_id"

// TestSharedVM runs pods of one namespace in one VM, and one of another in another.
func TestSharedVM(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "off"`})
	a, b := runShared(t, s, "team", "pod-a"), runShared(t, s, "team", "pod-b")
	if n := len(vmPIDs(t, s)); n != 1 {
		t.Fatalf("two pods of one namespace have %d VMs, want one", n)
	}
	ka := a.start(sh("main", "exec sleep 600"))
	kb := b.start(sh("main", "mkdir /tmp/w; echo from b > /tmp/w/index.html; echo log of b; exec busybox httpd -f -p 80 -h /tmp/w"))
	if one, other := ka.exec(bootID), kb.exec(bootID); one != other {
		t.Errorf("boot ids %s and %s: the pods have two kernels", one, other)
	}
	for _, ns := range []string{"net", "ipc", "uts", "pid", "mnt", "cgroup"} {
		if one, other := ka.exec("readlink /proc/self/ns/"+ns), kb.exec("readlink /proc/self/ns/"+ns); one == other {
			t.Errorf("both pods have the %s namespace %s", ns, one)
		}
	}
	if got := kb.exec("hostname; ps -o args | grep -c '[s]leep 600' || true"); got != "pod-b\n0" {
		t.Errorf("host name and processes of the other pod in a pod: %q", got)
	}
	if got := ka.exec("wget -q -O - http://" + b.status().Network.Ip + "/"); got != "from b" {
		t.Errorf("pod to pod: %q", got)
	}

	c := runShared(t, s, "other-team", "pod-c")
	if n := len(vmPIDs(t, s)); n != 2 {
		t.Errorf("a pod of another namespace: %d VMs, want two", n)
	}
	if kc := c.start(sh("main", "exec sleep 600")); kc.exec(bootID) == ka.exec(bootID) {
		t.Error("pods of two namespaces have one kernel")
	}

	a.remove()
	if got := kb.exec("echo still here; wget -q -O - http://127.0.0.1/"); got != "still here\nfrom b" {
		t.Errorf("after the removal of another pod of its VM: %q", got)
	}
	b.remove()
	if n := len(vmPIDs(t, s)); n != 1 {
		t.Errorf("%d VMs after the last pod of one went, want that of the other namespace", n)
	}
}
