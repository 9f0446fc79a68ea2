package sandbox_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// testLog routes log lines to the test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func config(t testing.TB, n *sandboxtest.Node, root string) sandbox.Config {
	c := n.Config(root)
	c.Logger = slog.New(slog.NewTextHandler(testLog{t}, nil))
	return c
}

// open makes a Manager; it is closed at the end unless the test closes it.
func open(t testing.TB, n *sandboxtest.Node, root string) *sandbox.Manager {
	t.Helper()
	m, err := sandbox.New(t.Context(), config(t, n, root))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func podConfig(name string) sandbox.PodConfig {
	return sandbox.PodConfig{
		Name: name, Namespace: "default", UID: "uid-" + name, LogDirectory: "/logs/" + name,
		Labels: map[string]string{"app": name},
	}
}

func containerConfig(name string) sandbox.ContainerConfig {
	return sandbox.ContainerConfig{
		Name: name, Image: "busybox", Command: []string{"sleep", "1"}, LogPath: name + "/0.log",
		Labels: map[string]string{"name": name},
	}
}

func mustRun(t testing.TB, m *sandbox.Manager, c sandbox.PodConfig) string {
	t.Helper()
	id, err := m.RunPod(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustCreate(t testing.TB, m *sandbox.Manager, pod string, c sandbox.ContainerConfig) string {
	t.Helper()
	id, err := m.CreateContainer(t.Context(), pod, c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func getPod(t testing.TB, m *sandbox.Manager, id string) sandbox.Pod {
	t.Helper()
	p, err := m.Pod(t.Context(), id)
	must(t, err)
	return p
}

func getContainer(t testing.TB, m *sandbox.Manager, id string) sandbox.Container {
	t.Helper()
	c, err := m.Container(t.Context(), id)
	must(t, err)
	return c
}

// wantNothing checks that neither the node nor the folder of records holds anything.
func wantNothing(t testing.TB, n *sandboxtest.Node, root string) {
	t.Helper()
	if got := n.String(); got != "" {
		t.Errorf("node holds:\n%s\nwant nothing", got)
	}
	entries, err := os.ReadDir(root)
	must(t, err)
	for _, e := range entries {
		if e.Name() != "quarantine" {
			t.Errorf("%s is left in the folder of records", e.Name())
		}
	}
}

// run runs f in a bubble, which also finds goroutines that outlive the Manager.
func run(t *testing.T, f func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node)) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		defer m.Close()
		f(t, m, n)
	})
}

func TestPodLife(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		ctx := t.Context()
		pod := mustRun(t, m, podConfig("web"))
		c := mustCreate(t, m, pod, containerConfig("c"))
		must(t, m.StartContainer(ctx, c))
		want := fmt.Sprintf(`image sha256:busybox held by %[2]s
network %[1]s 10.88.0.3
scratch %[1]s 1073741824
vm %[1]s 1 vcpus 256 MiB
vm %[1]s container %[2]s running
vm %[1]s pod %[1]s hostname web`, pod[:8], c[:8])
		if diff := cmp.Diff(want, n.String()); diff != "" {
			t.Fatalf("node (-want +got):\n%s", diff)
		}
		p := getPod(t, m, pod[:6])
		if p.State != sandbox.PodReady || !cmp.Equal(p.IPs, []string{"10.88.0.3"}) || p.NetNS == "" || p.Shim.PID == 0 {
			t.Fatalf("Pod = %+v, want it ready with an address", p)
		}
		if diff := cmp.Diff(podConfig("web"), p.Config); diff != "" {
			t.Fatalf("Config (-want +got):\n%s", diff)
		}
		got := getContainer(t, m, c)
		if got.Phase != sandbox.ContainerRunning || got.ImageID != "sha256:busybox" || got.StopSignal != "SIGTERM" || got.PID == 0 {
			t.Fatalf("Container = %+v, want it running", got)
		}

		must(t, m.StopPod(ctx, pod))
		must(t, m.StopPod(ctx, pod))
		p = getPod(t, m, pod)
		if p.State != sandbox.PodNotReady || p.Reason != "" || p.Shim.PID != 0 || len(p.IPs) != 1 {
			t.Fatalf("stopped Pod = %+v, want it not ready, with its address", p)
		}
		got = getContainer(t, m, c)
		if got.Phase != sandbox.ContainerExited || got.ExitCode != 137 || got.Reason != "Error" {
			t.Fatalf("Container after StopPod = %+v, want it killed", got)
		}
		must(t, m.RemovePod(ctx, pod))
		if err := m.RemovePod(ctx, pod); !errdefs.IsNotFound(err) {
			t.Fatalf("second RemovePod = %v, want NotFound", err)
		}
		if n.String() != "" {
			t.Fatalf("node holds:\n%s", n)
		}
	})
}

func TestPodSetup(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		c := podConfig(strings.Repeat("n", 62) + "-x")
		c.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"}
		c.DNS = sandbox.DNS{Servers: []string{"10.0.0.10"}, Searches: []string{"a", "b"}, Options: []string{"ndots:5"}}
		c.Resources = sandbox.Resources{MemoryLimit: 300 << 20, CPUQuota: 250_000, CPUPeriod: 100_000}
		id := mustRun(t, m, c)
		got, _ := n.PodSetup(id)
		host := strings.Repeat("n", 62)
		if got.Hostname != host {
			t.Errorf("Hostname = %q, want %q", got.Hostname, host)
		}
		if want := "search a b\nnameserver 10.0.0.10\noptions ndots:5\n"; got.ResolvConf != want {
			t.Errorf("ResolvConf = %q, want %q", got.ResolvConf, want)
		}
		if want := "10.88.0.3\t" + host + "\n"; !strings.HasSuffix(got.Hosts, want) || !strings.HasPrefix(got.Hosts, "127.0.0.1\tlocalhost\n::1\t") {
			t.Errorf("Hosts = %q, want it to end in %q", got.Hosts, want)
		}
		if !cmp.Equal(got.Sysctls, c.Sysctls) {
			t.Errorf("Sysctls = %v", got.Sysctls)
		}
		if want := "3 vcpus 384 MiB"; !strings.Contains(n.String(), want) {
			t.Errorf("node = %s, want a VM of %s", n, want)
		}
	})
}

func TestRunPodRefuses(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		mustRun(t, m, podConfig("there"))
		before := n.String()
		for name, tt := range map[string]struct {
			edit func(*sandbox.PodConfig)
			is   func(error) bool
			text string
		}{
			"same-name":       {func(c *sandbox.PodConfig) { *c = podConfig("there") }, errdefs.IsAlreadyExists, "is there as "},
			"no-name":         {func(c *sandbox.PodConfig) { c.Name = "" }, errdefs.IsInvalidArgument, "metadata.name"},
			"handler":         {func(c *sandbox.PodConfig) { c.RuntimeHandler = "big" }, errdefs.IsInvalidArgument, `"big"`},
			"host-network":    {func(c *sandbox.PodConfig) { c.Namespaces.Network = sandbox.NamespaceNode }, errdefs.IsNotImplemented, "namespace_options.network"},
			"host-pid":        {func(c *sandbox.PodConfig) { c.Namespaces.PID = sandbox.NamespaceNode }, errdefs.IsNotImplemented, "namespace_options.pid"},
			"host-ipc":        {func(c *sandbox.PodConfig) { c.Namespaces.IPC = sandbox.NamespaceNode }, errdefs.IsNotImplemented, "namespace_options.ipc"},
			"negative-memory": {func(c *sandbox.PodConfig) { c.Resources.MemoryLimit = -1 }, errdefs.IsInvalidArgument, "resources.memory_limit_in_bytes"},
			"too-much-memory": {func(c *sandbox.PodConfig) { c.Resources.MemoryLimit = 1 << 40 }, errdefs.IsInvalidArgument, "resources.memory_limit_in_bytes"},
			"negative-quota":  {func(c *sandbox.PodConfig) { c.Resources.CPUQuota = -2 }, errdefs.IsInvalidArgument, "resources.cpu_quota"},
			"cpuset":          {func(c *sandbox.PodConfig) { c.Resources.CpusetCPUs = "0-1" }, errdefs.IsInvalidArgument, "resources.cpuset_cpus"},
			"dns":             {func(c *sandbox.PodConfig) { c.DNS.Servers = []string{"x"} }, errdefs.IsInvalidArgument, "dns.servers[0]"},
			"dns-search":      {func(c *sandbox.PodConfig) { c.DNS.Searches = []string{"a\nnameserver 6.6.6.6"} }, errdefs.IsInvalidArgument, "dns.searches[0]"},
			"hostname":        {func(c *sandbox.PodConfig) { c.Hostname = "a b" }, errdefs.IsInvalidArgument, "hostname"},
		} {
			c := podConfig("new")
			tt.edit(&c)
			if id, err := m.RunPod(t.Context(), c); err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: RunPod = %q, %v; want an error of its kind with %q", name, id, err, tt.text)
			}
			if diff := cmp.Diff(before, n.String()); diff != "" {
				t.Errorf("%s: node (-want +got):\n%s", name, diff)
			}
		}
	})
}

// TestRunPodNetworkFailsBothWays: what CNI ADD left and DEL could not take back has an
// owner, whose kind of error is ADD's.
func TestRunPodNetworkFailsBothWays(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		n.Fail("Attach", fmt.Errorf("no address is free: %w", errdefs.ErrResourceExhausted))
		n.Fail("Detach", fmt.Errorf("plugin is away: %w", errdefs.ErrUnavailable))
		_, err := m.RunPod(t.Context(), podConfig("p"))
		if !errdefs.IsResourceExhausted(err) || errdefs.IsUnavailable(err) {
			t.Errorf("RunPod = %v, want ResourceExhausted", err)
		}
		want := "run pod sandbox default/p: attach network: no address is free: resource exhausted" +
			" (and it could not be undone: detach network: plugin is away: unavailable)"
		if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		pods, err := m.Pods(t.Context(), sandbox.PodFilter{})
		must(t, err)
		if len(pods) != 1 || pods[0].State != sandbox.PodNotReady {
			t.Fatalf("pods = %+v, want one that is not ready", pods)
		}
		if err := m.RemovePod(t.Context(), pods[0].ID); !errdefs.IsUnavailable(err) {
			t.Errorf("RemovePod while DEL fails = %v, want Unavailable", err)
		}
		n.Fail("Detach", nil)
		must(t, m.RemovePod(t.Context(), pods[0].ID))
		if got := n.String(); got != "" {
			t.Errorf("left:\n%s", got)
		}
	})
}

func TestCreateContainerRefuses(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod := mustRun(t, m, podConfig("p"))
		mustCreate(t, m, pod, containerConfig("there"))
		before := n.String()
		for name, tt := range map[string]struct {
			edit func(*sandbox.ContainerConfig)
			is   func(error) bool
			text string
		}{
			"same-name":    {func(c *sandbox.ContainerConfig) { *c = containerConfig("there") }, errdefs.IsAlreadyExists, "is there as "},
			"no-name":      {func(c *sandbox.ContainerConfig) { c.Name = "" }, errdefs.IsInvalidArgument, "metadata.name"},
			"image":        {func(c *sandbox.ContainerConfig) { c.Image = "nope" }, errdefs.IsNotFound, "nope"},
			"log-path":     {func(c *sandbox.ContainerConfig) { c.LogPath = "../../etc/passwd" }, errdefs.IsInvalidArgument, "logPath"},
			"signal":       {func(c *sandbox.ContainerConfig) { c.StopSignal = "SIGFOO" }, errdefs.IsInvalidArgument, "SIGFOO"},
			"limit":        {func(c *sandbox.ContainerConfig) { c.Resources.PidsLimit = -5 }, errdefs.IsInvalidArgument, "pids_limit"},
			"cpuset":       {func(c *sandbox.ContainerConfig) { c.Resources.CpusetCPUs = "99" }, errdefs.IsInvalidArgument, "resources.cpuset_cpus"},
			"host-network": {func(c *sandbox.ContainerConfig) { c.Namespaces.Network = sandbox.NamespaceNode }, errdefs.IsInvalidArgument, "namespace_options.network"},
			"target-pid":   {func(c *sandbox.ContainerConfig) { c.Namespaces.PID = sandbox.NamespaceTarget }, errdefs.IsInvalidArgument, "namespace_options.target_id"},
		} {
			c := containerConfig("new")
			tt.edit(&c)
			if id, err := m.CreateContainer(t.Context(), pod, c); err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: CreateContainer = %q, %v; want an error of its kind with %q", name, id, err, tt.text)
			}
			if diff := cmp.Diff(before, n.String()); diff != "" {
				t.Errorf("%s: node (-want +got):\n%s", name, diff)
			}
		}
		if _, err := m.CreateContainer(t.Context(), "feed", containerConfig("x")); !errdefs.IsNotFound(err) {
			t.Fatalf("CreateContainer in no pod = %v, want NotFound", err)
		}
	})
}

func TestNetworkReady(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		must(t, m.NetworkReady(t.Context()))
		n.SetNetworkReady(errors.New("no conf"))
		if err := m.NetworkReady(t.Context()); err == nil {
			t.Fatal("NetworkReady = nil, want the network's error")
		}
	})
}

func TestNewRefusesBadConfig(t *testing.T) {
	_, err := sandbox.New(t.Context(), sandbox.Config{Handlers: map[string]sandbox.Handler{"x": {}}})
	if !errdefs.IsInvalidArgument(err) {
		t.Fatalf("New = %v, want InvalidArgument", err)
	}
	for _, want := range []string{"Root", "Launcher", "Images", "Network", "Specs", "Scratch", `Handlers[""]`, `"x": VCPUs`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want it to name %s", err, want)
		}
	}
}

func TestFullDisk(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		ctx := t.Context()
		pod := mustRun(t, m, podConfig("p"))
		c := mustCreate(t, m, pod, containerConfig("c"))
		must(t, m.StartContainer(ctx, c))
		before := n.String()
		write := m.RecordWriter()
		m.SetRecordWriter(func(string, []byte, fs.FileMode) error { return errors.New("no space left on device") })
		if _, err := m.RunPod(ctx, podConfig("q")); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("RunPod = %v, want the disk's error", err)
		}
		if _, err := m.CreateContainer(ctx, pod, containerConfig("d")); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("CreateContainer = %v, want the disk's error", err)
		}
		if diff := cmp.Diff(before, n.String()); diff != "" {
			t.Errorf("node (-want +got):\n%s", diff)
		}
		must(t, m.StopPod(ctx, pod)) // what frees space must work
		must(t, m.RemovePod(ctx, pod))
		if n.String() != "" {
			t.Errorf("node holds:\n%s", n)
		}
		m.SetRecordWriter(write)
		mustRun(t, m, podConfig("q"))
	})
}
