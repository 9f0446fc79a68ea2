package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

func wantVMs(t *testing.T, s *server, want int, when string) {
	t.Helper()
	if n := len(vmPIDs(t, s)); n != want {
		t.Fatalf("%s there are %d VMs, want %d", when, n, want)
	}
}

const (
	bootID = "cat /proc/sys/kernel/random/boot_id"
	idling = "exec sleep 600"
)

// page serves a file on port 80.
func page(text string) *cri.ContainerConfig {
	return sh("web", "mkdir /tmp/w; echo "+text+" > /tmp/w/index.html; echo log "+text+"; exec busybox httpd -f -p 80 -h /tmp/w")
}

// fetchFrom fetches a page in a container, once it is served.
func (k *container) fetchFrom(url string) string {
	k.t.Helper()
	return k.exec("for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - " + url + " && exit; sleep 0.3; done; exit 1")
}

// TestSharedVM runs pods of one namespace in one VM, apart from each other, and one of
// another namespace in another VM.
func TestSharedVM(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "off"`})
	a := runShared(t, s, "team", "pod-a", func(c *cri.PodSandboxConfig) {
		c.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shmmax": "65536"}
	})
	b := runShared(t, s, "team", "pod-b", func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_POD}}
	})
	wantVMs(t, s, 1, "with two pods of one namespace")
	if a.vm() != b.vm() || a.vm() == a.id {
		t.Errorf("VMs %s and %s of pods %s and %s", a.vm(), b.vm(), a.id, b.id)
	}
	secret := t.TempDir()
	write(t, filepath.Join(secret, "token"), "of a")
	main := sh("main", "echo mine > /dev/shm/a; "+idling)
	both := t.TempDir()
	web := page("b")
	if hostFolders() {
		main.Mounts = []*cri.Mount{bind("/secret", secret), bind("/both", both)}
		web.Mounts = []*cri.Mount{bind("/both", both)}
	}
	ka, kb := a.start(main), b.start(web)
	side := sh("side", idling)
	side.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_POD}}
	kside := b.start(side)

	t.Run("kernel", func(t *testing.T) {
		if one, other := ka.exec(bootID), kb.exec(bootID); one != other {
			t.Errorf("boot ids %s and %s: the pods have two kernels", one, other)
		}
	})
	t.Run("apart", func(t *testing.T) {
		for _, ns := range []string{"net", "ipc", "uts", "pid", "mnt", "cgroup"} {
			if one, other := ka.exec("readlink /proc/self/ns/"+ns), kb.exec("readlink /proc/self/ns/"+ns); one == other {
				t.Errorf("both pods have the %s namespace %s", ns, one)
			}
		}
		if got := kb.exec("hostname; ls /dev/shm /secret 2>/dev/null | wc -l"); got != "pod-b\n1" { // the line that names /dev/shm
			t.Errorf("host name, shared memory and volumes of the other pod in a pod: %q", got)
		}
		for _, k := range []*container{kb, kside} {
			for _, see := range []string{"cat /proc/[0-9]*/cmdline | tr '\\0' ' '", "cat /proc/self/mountinfo /proc/self/cgroup", "ls -R /sys/fs/cgroup"} {
				if got := k.exec(see); strings.Contains(got, a.id) || strings.Contains(got, ka.id) || strings.Contains(got, "echo mine") {
					t.Errorf("%s shows the other pod:\n%s", see, got)
				}
			}
		}
		if got := kside.exec("cat /proc/1/comm"); got != "pause" {
			t.Errorf("process 1 of a pod that shares its process namespace is %q", got)
		}
		for _, script := range []string{
			"echo 1 > /proc/sys/kernel/sysrq", "echo x > /proc/sys/kernel/core_pattern", "echo b > /proc/sysrq-trigger",
			"mknod /tmp/d b 8 0 && head -c 1 /tmp/d", "[ -n \"$(head -c 1 /proc/kcore)\" ]", "mount -t tmpfs none /mnt",
		} {
			if got := kb.exec("if (" + script + ") >/dev/null 2>&1; then echo it can; fi"); got != "" {
				t.Errorf("a container of a shared VM can do: %s", script)
			}
		}
	})
	t.Run("sysctls", func(t *testing.T) {
		const both = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax"
		if got := ka.exec(both); got != "80\n65536" {
			t.Errorf("sysctls of the pod that set them: %q", got)
		}
		if got := kb.exec(both); strings.HasPrefix(got, "80\n") || strings.HasSuffix(got, "\n65536") {
			t.Errorf("sysctls of the other pod: %q", got)
		}
		for _, name := range []string{"kernel.panic", "vm.swappiness", "net.ipv4.tcp_mem", "net.core.rmem_max"} {
			p, err := tryShared(t, s, "team", "pod-sysctl", func(c *cri.PodSandboxConfig) { c.Linux.Sysctls = map[string]string{name: "1"} })
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), name) {
				t.Errorf("a pod that sets %s: %v, %v, want InvalidArgument", name, p, err)
			}
		}
	})
	t.Run("network", func(t *testing.T) {
		ip := b.status().Network.Ip
		if got := ka.fetchFrom("http://" + ip + "/"); got != "b" {
			t.Errorf("pod to pod: %q", got)
		}
		if ip == a.status().Network.Ip || !strings.Contains(kb.exec("ip addr show eth0"), ip+"/") {
			t.Errorf("addresses of both pods: %s, %s", ip, a.status().Network.Ip)
		}
		if got := ka.exec("wget -q -O - http://127.0.0.1/ 2>/dev/null || echo refused"); got != "refused" {
			t.Errorf("the other pod's port on the own loopback: %q", got)
		}
		kside.fetchFrom("http://127.0.0.1/")
	})
	t.Run("volumes", func(t *testing.T) {
		ka.exec("echo from a > /both/file")
		if got := kb.exec("cat /both/file; echo from b > /both/file"); got != "from a" || read(t, filepath.Join(both, "file")) != "from b\n" {
			t.Errorf("a folder that both pods have: %q", got)
		}
	})
	t.Run("streams", func(t *testing.T) {
		if got := kb.stdout(); got != "log b\n" {
			t.Errorf("log %q", got)
		}
		get := forward(t, b, "spdy", 80)
		var got string
		eventually(t, "the page comes through the forwarded port", func() (ok bool) {
			got, ok = get()
			return ok
		})
		if got != "b\n" {
			t.Errorf("port-forward: %q", got)
		}
	})
	t.Run("stats", func(t *testing.T) {
		ka.exec("dd if=/dev/zero of=/dev/shm/big bs=1M count=24 2>/dev/null")
		sa, sb := a.stats(), b.stats()
		if ma, mb := sa.Memory.UsageBytes.GetValue(), sb.Memory.UsageBytes.GetValue(); ma < 24<<20 || mb > ma-(12<<20) {
			t.Errorf("memory of the pod with 24 MiB %d, of the other %d", ma, mb)
		}
		if len(sa.Containers) != 1 || len(sb.Containers) != 2 || sb.Network.GetDefaultInterface().GetRxBytes().GetValue() == 0 {
			t.Errorf("figures of the pods: %d and %d containers, %v", len(sa.Containers), len(sb.Containers), sb.Network)
		}
	})
	t.Run("privileged", func(t *testing.T) {
		_, err := tryShared(t, s, "team", "pod-priv", func(c *cri.PodSandboxConfig) {
			c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{Privileged: true}
		})
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "linux-shared") {
			t.Errorf("a privileged pod: %v, want PermissionDenied", err)
		}
		c := sh("admin", idling)
		c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{Capabilities: &cri.Capability{AddCapabilities: []string{"SYS_ADMIN"}}}
		if _, err := b.tryCreate(c); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a container with SYS_ADMIN: %v, want PermissionDenied", err)
		}
	})

	c := runShared(t, s, "other-team", "pod-c")
	wantVMs(t, s, 2, "with a pod of another namespace")
	if kc := c.start(sh("main", idling)); kc.exec(bootID) == ka.exec(bootID) {
		t.Error("pods of two namespaces have one kernel")
	}
	a.remove()
	wantVMs(t, s, 2, "after the removal of one of two pods")
	if got := kb.exec("wget -q -O - http://127.0.0.1/"); got != "b" {
		t.Errorf("after the removal of another pod of its VM: %q", got)
	}
	t.Run("volumes-go-on", func(t *testing.T) {
		if got := kb.exec("cat /both/file"); got != "from b" {
			t.Errorf("after the removal of another pod of its VM: %q", got)
		}
	})
	b.remove()
	wantVMs(t, s, 1, "after the last pod of one went")
}

// TestSharedVM_Many: pods that come at once have one VM until it is full; what they give
// back is used again.
func TestSharedVM_Many(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "off"`, extra: "[handlers.linux-shared]\npods = 4\n"})
	pods := make([]*pod, 4)
	var wg sync.WaitGroup
	for i := range pods {
		c := podConfig(t)
		c.Metadata.Namespace, c.Metadata.Name = "crowd", fmt.Sprint("pod-", i)
		pods[i] = &pod{t: t, s: s, config: c}
		wg.Go(func() {
			r, err := s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c, RuntimeHandler: "linux-shared"})
			if err != nil {
				t.Errorf("RunPodSandbox: %v", err)
			}
			pods[i].id = r.GetPodSandboxId()
		})
	}
	wg.Wait()
	for _, p := range pods {
		t.Cleanup(p.remove)
	}
	if t.Failed() {
		return
	}
	wantVMs(t, s, 1, "with four pods that came at once")
	web := pods[0].start(page("first"))
	url := "http://" + pods[0].status().Network.Ip + "/"
	for i, p := range pods[1:] {
		if got := p.start(sh("client", idling)).fetchFrom(url); got != "first" {
			t.Errorf("pod %d fetches %q", i+1, got)
		}
	}
	fifth := runShared(t, s, "crowd", "pod-4")
	wantVMs(t, s, 2, "with one pod more than a VM holds")
	fifth.remove()
	wantVMs(t, s, 1, "after that one went")
	pods[3].remove()
	for i := range 3 { // in the place of the one that went
		p := runShared(t, s, "crowd", fmt.Sprint("next-", i))
		if got := p.start(sh("client", idling)).fetchFrom(url); got != "first" {
			t.Errorf("next pod %d fetches %q", i, got)
		}
		p.remove()
	}
	wantVMs(t, s, 1, "after pods in a place that was free")
	if got := web.exec("wget -q -O - http://127.0.0.1/"); got != "first" {
		t.Errorf("the first pod serves %q", got)
	}
}

// TestSharedVM_Memory: a pod's limit bounds its containers together, and its end leaves the
// others alone.
func TestSharedVM_Memory(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "off"`, extra: "[handlers.linux-shared]\nmemory = \"512MiB\"\n"})
	limit := func(mib int64) func(*cri.PodSandboxConfig) {
		return func(c *cri.PodSandboxConfig) {
			c.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: mib << 20}
		}
	}
	a, b := runShared(t, s, "team", "small", limit(48)), runShared(t, s, "team", "other", limit(200))
	kb := b.start(sh("main", idling))
	const eat = "dd if=/dev/zero of=/dev/shm/x bs=1M count=56 2>/dev/null; x=$(cat /dev/shm/x | tr '\\0' a); echo ${#x}; rm /dev/shm/x"
	hungry := sh("hungry", eat)
	hungry.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 256 << 20}
	if st := a.start(hungry).wait(); st.ExitCode == 0 || st.Reason != "OOMKilled" {
		t.Errorf("a container above its pod's limit: exit code %d, %s", st.ExitCode, st.Reason)
	}
	// What is told of a pod is the sum of limits, and no bound for a container without one.
	if got := a.output("unbounded", "rm -f /dev/shm/x; "+eat); got != fmt.Sprint(56<<20) {
		t.Errorf("a container without limit in a pod with one: %q", got)
	}
	if got := kb.exec("echo alive"); got != "alive" {
		t.Errorf("the other pod: %q", got)
	}
	runShared(t, s, "team", "third", limit(200)) // of 448 MiB
	wantVMs(t, s, 1, "with 448 of 448 MiB promised")
	runShared(t, s, "team", "fourth", limit(1))
	wantVMs(t, s, 2, "with more memory promised than one VM has")
	if _, err := tryShared(t, s, "team", "giant", limit(449)); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "448 MiB") {
		t.Errorf("a pod larger than a VM: %v, want InvalidArgument", err)
	}
}

// TestSharedVM_Ends: a daemon that is killed finds the VM and its pods again, and when the
// VM dies all of them are NotReady and say so.
func TestSharedVM_Ends(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "off"`})
	a, b := runShared(t, s, "team", "pod-a"), runShared(t, s, "team", "pod-b")
	counter := a.start(sh("counter", `i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done`))
	kb := b.start(page("b"))
	eventually(t, "the counter counts", func() bool { return strings.Contains(counter.stdout(), "3\n") })
	vm := a.vm()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	at := strings.Count(counter.stdout(), "\n")
	eventually(t, "the log goes on without the daemon", func() bool { return strings.Count(counter.stdout(), "\n") > at+5 })
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*pod{a, b} {
		if st := p.status(); st.State != cri.PodSandboxState_SANDBOX_READY || p.vm() != vm {
			t.Errorf("pod after the restart: %v in VM %s, was in %s", st.State, p.vm(), vm)
		}
	}
	if got := kb.exec("wget -q -O - http://127.0.0.1/"); got != "b" {
		t.Errorf("exec after the restart: %q", got)
	}
	c := runShared(t, s, "team", "pod-c")
	wantVMs(t, s, 1, "with a pod that came after the restart")
	if c.vm() != vm {
		t.Errorf("a pod after the restart has VM %s, want %s", c.vm(), vm)
	}
	b.remove()
	if got := counter.exec("echo still here"); got != "still here" {
		t.Errorf("after the removal of another pod: %q", got)
	}

	killAll(t, vmPIDs(t, s))
	for _, p := range []*pod{a, c} {
		eventually(t, "the pod is not ready", func() bool { return p.status().State == cri.PodSandboxState_SANDBOX_NOTREADY })
		r, err := s.PodSandboxStatus(testContext(t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
		if err != nil || !strings.Contains(r.Info["info"], "the VM ended") {
			t.Errorf("status of a pod whose VM was killed: %v, %v", r.GetInfo(), err)
		}
	}
	if st := counter.wait(); st.ExitCode != 255 {
		t.Errorf("container of a killed VM: exit code %d", st.ExitCode)
	}
	d := runShared(t, s, "team", "pod-d")
	if got := d.output("works", "echo works"); got != "works" || d.vm() == vm {
		t.Errorf("a pod after that: %q in VM %s", got, d.vm())
	}
	a.remove()
	c.remove()
	if got := d.output("works-on", "echo works"); got != "works" {
		t.Errorf("a pod after the removal of those of the killed VM: %q", got)
	}
}
