package e2e

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestContainerProcess(t *testing.T) {
	p := runPod(t, env.server, func(c *cri.PodSandboxConfig) { c.Hostname = "box" })
	got := p.output("process", `echo "$0|$1|$GREETING|$PWD|$(hostname)|$(id -u):$(id -g)|$PATH"`, func(c *cri.ContainerConfig) {
		c.Args = []string{"zero", "one two"}
		c.Envs = []*cri.KeyValue{{Key: "GREETING", Value: []byte("a=b c")}}
		c.WorkingDir = "/tmp/not/there/yet"
	})
	want := "zero|one two|a=b c|/tmp/not/there/yet|box|0:0|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestContainerRoot: a container sees in its root what the image has there, and what
// every container gets.
func TestContainerRoot(t *testing.T) {
	p := runPod(t, env.server)
	got := strings.Fields(p.output("root", "ls -A /"))
	if want := []string{"bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var", "www"}; !slices.Equal(got, want) {
		t.Errorf("/ has %q, want %q", got, want)
	}
}

func TestContainerUser(t *testing.T) {
	p := runPod(t, env.server, func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{SupplementalGroups: []int64{5000}}
	})
	security := func(s *cri.LinuxContainerSecurityContext) func(*cri.ContainerConfig) {
		return func(c *cri.ContainerConfig) { c.Linux.SecurityContext = s }
	}
	const script = `echo "$(id -u) $(id -g) $(id -G) $HOME"`
	for _, c := range []struct {
		name     string
		security *cri.LinuxContainerSecurityContext
		want     string
	}{
		{"name", &cri.LinuxContainerSecurityContext{RunAsUsername: "demo"}, "1000 1000 2000 5 5000 /home/demo"},
		{"uid", &cri.LinuxContainerSecurityContext{RunAsUser: &cri.Int64Value{Value: 1000}}, "1000 1000 2000 5 5000 /home/demo"},
		{"unlisted", &cri.LinuxContainerSecurityContext{RunAsUser: &cri.Int64Value{Value: 4242}}, "4242 0 5000 /"},
		{"group", &cri.LinuxContainerSecurityContext{RunAsUser: &cri.Int64Value{Value: 1000}, RunAsGroup: &cri.Int64Value{Value: 77}, SupplementalGroups: []int64{99}}, "1000 77 2000 5 5000 99 /home/demo"},
		{"strict", &cri.LinuxContainerSecurityContext{RunAsUsername: "demo", SupplementalGroupsPolicy: cri.SupplementalGroupsPolicy_Strict, SupplementalGroups: []int64{99}}, "1000 1000 5000 99 /home/demo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := *p
			q.t = t
			got := strings.Fields(q.output(c.name, script, security(c.security)))
			// id -G repeats the primary group, in no order that matters.
			groups := slices.Compact(slices.Sorted(slices.Values(got[2 : len(got)-1])))
			groups = slices.DeleteFunc(groups, func(g string) bool { return g == got[1] })
			line := strings.Join(append(append(got[:2:2], groups...), got[len(got)-1]), " ")
			if line != c.want {
				t.Errorf("got %s, want %s", line, c.want)
			}
		})
	}
}

func TestContainerSecurity(t *testing.T) {
	p := runPod(t, env.server)
	const caps = `awk '/^Cap(Eff|Bnd)|NoNewPrivs|^Seccomp:/ {print $1 $2}' /proc/self/status`
	status := func(t *testing.T, name string, s *cri.LinuxContainerSecurityContext) map[string]string {
		q := *p
		q.t = t
		out := q.output(name, caps, func(c *cri.ContainerConfig) { c.Linux.SecurityContext = s })
		m := map[string]string{}
		for line := range strings.Lines(out) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
			m[k] = v
		}
		return m
	}
	t.Run("defaults", func(t *testing.T) {
		m := status(t, "defaults", &cri.LinuxContainerSecurityContext{Seccomp: &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}})
		if m["CapEff"] != "00000000a80425fb" || m["NoNewPrivs"] != "0" || m["Seccomp"] != "2" {
			t.Errorf("status %v: want the default capabilities and a seccomp filter", m)
		}
	})
	t.Run("dropped", func(t *testing.T) {
		m := status(t, "dropped", &cri.LinuxContainerSecurityContext{
			Capabilities: &cri.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}},
			NoNewPrivs:   true,
			Seccomp:      &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined},
		})
		if m["CapEff"] != "0000000000000400" || m["NoNewPrivs"] != "1" || m["Seccomp"] != "0" {
			t.Errorf("status %v: want CAP_NET_BIND_SERVICE alone, no new privileges, no filter", m)
		}
	})
	t.Run("seccomp-localhost", func(t *testing.T) {
		q := *p
		q.t = t
		profile := t.TempDir() + "/no-mkdir.json"
		text := `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`
		if err := os.WriteFile(profile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out := q.output("localhost", "mkdir /tmp/x 2>&1 || echo refused", func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{Seccomp: &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: profile}}
		})
		if !strings.Contains(out, "refused") {
			t.Errorf("mkdir under a profile that forbids it: %q", out)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		q := *p
		q.t = t
		out := q.output("ro", `touch /x 2>&1 || echo root-ro; cat /proc/meminfo | wc -c; echo 1 > /proc/sys/kernel/sysrq || echo sys-ro`, func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{
				ReadonlyRootfs: true, MaskedPaths: []string{"/proc/meminfo"}, ReadonlyPaths: []string{"/proc/sys"},
			}
		})
		if !strings.Contains(out, "root-ro") || !strings.Contains(out, "sys-ro") || !strings.Contains(out, "\n0\n") {
			t.Errorf("read-only and masked paths: %q", out)
		}
	})
	t.Run("privileged", func(t *testing.T) {
		r := runPod(t, env.server, func(c *cri.PodSandboxConfig) {
			c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{Privileged: true}
		})
		out := r.output("privileged", `mkdir /mnt && mount -t tmpfs none /mnt && echo mounted`, func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{Privileged: true}
		})
		if !strings.Contains(out, "mounted") {
			t.Errorf("a privileged container cannot mount: %q", out)
		}
	})
}

func TestContainerLimits(t *testing.T) {
	p := runPod(t, env.server)
	out := p.output("limits", `cd /sys/fs/cgroup; cat memory.max cpu.max pids.max`, func(c *cri.ContainerConfig) {
		c.Linux.Resources = &cri.LinuxContainerResources{
			CpuPeriod: 100000, CpuQuota: 50000, MemoryLimitInBytes: 64 << 20, Unified: map[string]string{"pids.max": "42"},
		}
	})
	if want := "67108864\n50000 100000\n42"; out != want {
		t.Errorf("limits seen in the container:\n%s\nwant:\n%s", out, want)
	}
}

func TestUpdateContainerResources(t *testing.T) {
	p := runPod(t, env.server)
	c := sh("sleeper", "exec sleep 600")
	c.Linux.Resources = &cri.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 1024, MemoryLimitInBytes: 64 << 20, MemorySwapLimitInBytes: 64 << 20,
		Unified: map[string]string{"pids.max": "42"},
	}
	k := p.create(c)
	update := func(r *cri.LinuxContainerResources) error {
		_, err := k.s.UpdateContainerResources(testContext(t), &cri.UpdateContainerResourcesRequest{ContainerId: k.id, Linux: r})
		return err
	}
	want := func(want string) {
		t.Helper()
		if got := k.exec("cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max"); got != want {
			t.Errorf("limits in the container: %q, want %q", got, want)
		}
	}
	if err := update(&cri.LinuxContainerResources{CpuQuota: 25000}); err != nil { // created
		t.Fatal(err)
	}
	k.start()
	want("67108864\n0\n25000 100000\n42")
	if err := update(&cri.LinuxContainerResources{MemoryLimitInBytes: 96 << 20, Unified: map[string]string{"pids.max": "43"}}); err != nil {
		t.Fatal(err)
	}
	want("100663296\n0\n25000 100000\n43")
	if r := k.status().Resources.Linux; r.MemoryLimitInBytes != 96<<20 || r.CpuQuota != 25000 || r.CpuShares != 1024 {
		t.Errorf("limits in the status: %v", r)
	}
	if err := update(&cri.LinuxContainerResources{CpusetCpus: "500"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("update to a CPU that is not there: %v, want InvalidArgument", err)
	}
	if _, err := k.s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: k.id}); err != nil {
		t.Fatal(err)
	}
	if err := update(&cri.LinuxContainerResources{CpuQuota: 30000}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("update of a container that has ended: %v, want FailedPrecondition", err)
	}
}

func TestContainerSysctls(t *testing.T) {
	p := runPod(t, env.server, func(c *cri.PodSandboxConfig) {
		c.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"}
	})
	out := p.output("sysctls", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced")
	if out != "80\n1" {
		t.Errorf("sysctls in the container: %q", out)
	}
}

func TestContainerExit(t *testing.T) {
	p := runPod(t, env.server)
	for _, c := range []struct {
		name, script, reason string
		code                 int32
		memory               int64
	}{
		{"completed", "true", "Completed", 0, 0},
		{"error", "exit 7", "Error", 7, 0},
		{"signalled", "kill -9 $$", "Error", 137, 0},
		{"oom", "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; x=$(cat /dev/shm/x | tr '\\0' a); echo ${#x}", "OOMKilled", 137, 24 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := *p
			q.t = t
			config := sh(c.name, c.script)
			config.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: c.memory}
			before := time.Now()
			s := q.start(config).wait()
			if s.ExitCode != c.code || s.Reason != c.reason {
				t.Errorf("exit code %d, reason %q (%s), want %d, %q", s.ExitCode, s.Reason, s.Message, c.code, c.reason)
			}
			times := []int64{before.UnixNano(), s.CreatedAt, s.StartedAt, s.FinishedAt, time.Now().UnixNano()}
			for i := 1; i < len(times); i++ {
				if times[i] < times[i-1] {
					t.Errorf("times go back: %v", times)
				}
			}
		})
	}
}

func TestStopContainer(t *testing.T) {
	p := runPod(t, env.server)
	stop := func(t *testing.T, k *container, grace int64) time.Duration {
		start := time.Now()
		if _, err := k.s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: k.id, Timeout: grace}); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	waiting := func(t *testing.T, c *cri.ContainerConfig) *container {
		q := *p
		q.t = t
		k := q.start(c)
		eventually(t, "the container waits", func() bool { return strings.Contains(k.stdout(), "ready") })
		return k
	}
	t.Run("heeds", func(t *testing.T) {
		k := waiting(t, sh("heeds", `trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done`))
		stop(t, k, 30)
		if s := k.wait(); s.ExitCode != 3 || !strings.Contains(k.stdout(), "bye") {
			t.Errorf("exit code %d, output %q: want 3 and bye", s.ExitCode, k.stdout())
		}
	})
	t.Run("ignores", func(t *testing.T) {
		k := waiting(t, sh("ignores", `trap '' TERM; echo ready; while :; do sleep 0.1; done`))
		if took := stop(t, k, 1); took < time.Second {
			t.Errorf("killed after %v, before its grace of 1 s", took)
		}
		if s := k.wait(); s.ExitCode != 137 {
			t.Errorf("exit code %d, want 137", s.ExitCode)
		}
		stop(t, k, 1) // again: nothing to do
	})
	t.Run("image-signal", func(t *testing.T) {
		// The image's volume is a folder though no layer has it.
		c := sh("image-signal", `trap 'echo got USR1; exit 4' USR1; touch /var/lib/app/x && echo ready; while :; do sleep 0.1; done`)
		c.Image.Image = env.registry.stopsignal
		k := waiting(t, c)
		stop(t, k, 30)
		if s := k.wait(); s.ExitCode != 4 {
			t.Errorf("exit code %d, output %q: want the image's stop signal, 4", s.ExitCode, k.stdout())
		}
	})
}

// TestOwnKernel shows the point of it all: the container's kernel is not the host's.
func TestOwnKernel(t *testing.T) {
	p := runPod(t, env.server)
	host, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	hostBoot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	out := p.output("kernel", "uname -r; cat /proc/sys/kernel/random/boot_id; date +%s; nproc")
	lines := strings.Split(out, "\n")
	if len(lines) != 4 {
		t.Fatalf("output %q", out)
	}
	if lines[0] == strings.TrimSpace(string(host)) || lines[1] == strings.TrimSpace(string(hostBoot)) {
		t.Errorf("kernel %s, boot %s: the same as the host's", lines[0], lines[1])
	}
	guest, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Since(time.Unix(guest, 0)); off > 30*time.Second || off < -5*time.Second {
		t.Errorf("the guest's clock is off by %v", off)
	}
}
