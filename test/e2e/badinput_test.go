package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// refused checks an error: it has the code that docs/cri.md tells, and names the thing.
func refused(t *testing.T, err error, names string, want codes.Code) {
	t.Helper()
	if err == nil || status.Code(err) != want || !strings.Contains(err.Error(), names) {
		t.Errorf("got %v; want %v, naming %q", err, want, names)
	}
}

func TestPullRefused(t *testing.T) {
	pull := func(t *testing.T, ref string) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		_, err := env.server.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}})
		return err
	}
	for _, c := range []struct {
		name, ref, names string
		code             codes.Code
	}{
		{"unknown", env.registry.host + "/no/such:image", "no/such:image", codes.NotFound},
		{"unparsable", "UPPER//case::", "UPPER//case::", codes.InvalidArgument},
		{"registry-down", "127.0.0.1:1/any/image:latest", "127.0.0.1:1", codes.Unavailable},
		{"wrong-digest", env.registry.wrongDigest, "e2e/wrong-digest", codes.DataLoss},
		{"layer-not-a-tar", env.registry.notTar, "tar", codes.InvalidArgument},
		{"path-climbs-out", env.registry.climbing, "../", codes.InvalidArgument},
		{"cut", env.registry.cut, "e2e/cut", codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			refused(t, pull(t, c.ref), c.names, c.code)
			r, err := env.server.Images.ImageStatus(testContext(t), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: c.ref}})
			if err == nil && r.Image != nil {
				t.Errorf("half an image is listed: %v", r.Image)
			}
		})
	}
}

func TestCreateContainerRefused(t *testing.T) {
	p := runPod(t, env.server)
	for _, c := range []struct {
		name, names string
		change      func(*cri.ContainerConfig)
		code        codes.Code
	}{
		{"unknown-user", "nobody-here", func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{RunAsUsername: "nobody-here"}
		}, codes.InvalidArgument},
		{"negative-limit", "memory", func(c *cri.ContainerConfig) {
			c.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: -5}
		}, codes.InvalidArgument},
		{"unknown-capability", "CAP_FLY", func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{Capabilities: &cri.Capability{AddCapabilities: []string{"CAP_FLY"}}}
		}, codes.InvalidArgument},
		{"missing-profile", "profile.json", func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{Seccomp: &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: "/no/such/profile.json"}}
		}, codes.InvalidArgument},
		{"group-without-user", "group", func(c *cri.ContainerConfig) {
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{RunAsGroup: &cri.Int64Value{Value: 5}}
		}, codes.InvalidArgument},
		{"log-climbs-out", "log", func(c *cri.ContainerConfig) { c.LogPath = "../../climbs.log" }, codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := sh(c.name, "true")
			c.change(config)
			q := *p
			q.t = t
			_, err := q.tryCreate(config)
			refused(t, err, c.names, c.code)
		})
	}
	t.Run("unknown-image", func(t *testing.T) {
		config := sh("unknown-image", "true")
		config.Image.Image = env.registry.host + "/never/pulled:1"
		_, err := p.s.CreateContainer(testContext(t), &cri.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
		refused(t, err, "never/pulled:1", codes.NotFound)
	})
	t.Run("unknown-pod", func(t *testing.T) {
		_, err := p.s.CreateContainer(testContext(t), &cri.CreateContainerRequest{PodSandboxId: "feedbeef", Config: sh("x", "true"), SandboxConfig: p.config})
		refused(t, err, "feedbeef", codes.NotFound)
	})
	r, err := p.s.ListContainers(testContext(t), &cri.ListContainersRequest{Filter: &cri.ContainerFilter{PodSandboxId: p.id}})
	if err != nil || len(r.Containers) != 0 {
		t.Errorf("refused containers are listed: %v, %v", r.GetContainers(), err)
	}
}

func TestMissingCommand(t *testing.T) {
	p := runPod(t, env.server)
	c := sh("missing", "")
	c.Command = []string{"/no/such/command"}
	id, err := p.tryCreate(c)
	if err == nil {
		_, err = p.s.StartContainer(testContext(t), &cri.StartContainerRequest{ContainerId: id})
	}
	refused(t, err, "/no/such/command", codes.InvalidArgument)
	if got := p.output("next", "echo fine"); got != "fine" {
		t.Errorf("the pod after it: %q", got)
	}
}

func TestRunPodRefused(t *testing.T) {
	before := hostState(t)
	for _, c := range []struct {
		name, names string
		change      func(*cri.PodSandboxConfig)
		handler     string
		code        codes.Code
	}{
		{"host-network", "network", func(c *cri.PodSandboxConfig) {
			c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}}
		}, "", codes.Unimplemented},
		{"no-metadata", "metadata", func(c *cri.PodSandboxConfig) { c.Metadata = nil }, "", codes.InvalidArgument},
		{"unknown-handler", "no-such-handler", func(*cri.PodSandboxConfig) {}, "no-such-handler", codes.InvalidArgument},
		{"sysctl-of-the-vm", "kernel.panic", func(c *cri.PodSandboxConfig) {
			c.Linux.Sysctls = map[string]string{"kernel.panic": "1"}
		}, "", codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := podConfig(t)
			c.change(config)
			_, err := env.server.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: c.handler})
			refused(t, err, c.names, c.code)
		})
	}
	sameHost(t, before, hostState(t))
}

func TestBadCNIConf(t *testing.T) {
	// The network is looked for before addresses are.
	plugin, network := `"type": "bridge", "bridge": "porthole9"`, "x"
	if w := env.windows; w != nil {
		plugin, network = `"type": "win-bridge", "apiVersion": 2`, w.host.Network
	}
	for _, c := range []struct {
		name, conf, names string
		code              codes.Code
	}{
		{"broken", `{"name": "x", "plugins": [`, "10-porthole.conflist", codes.FailedPrecondition},
		{"unknown-plugin", `{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "no-such-plugin"}]}`, "no-such-plugin", codes.FailedPrecondition},
		{"plugin-refuses", `{"cniVersion": "1.0.0", "name": "` + network + `", "plugins": [{` + plugin + `, "ipam": {"type": "host-local", "ranges": [[{"subnet": "not-a-subnet"}]]}}]}`, "not-a-subnet", codes.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ownServer(t, serverConfig{cniConf: c.conf})
			_, err := s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: podConfig(t)})
			refused(t, err, c.names, c.code)
			pods, err := s.ListPodSandbox(testContext(t), &cri.ListPodSandboxRequest{})
			if err != nil || len(pods.Items) != 0 {
				t.Errorf("a pod without a network is listed: %v, %v", pods.GetItems(), err)
			}
		})
	}
}

// TestFullDisk gives the server a root of a few MiB: the pull must fail, say so, leave
// nothing, and the server go on.
func TestFullDisk(t *testing.T) {
	root, err := os.MkdirTemp("", "pfull")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=3m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
		os.Remove(root)
	})
	s := ownServer(t, serverConfig{root: filepath.Join(root, "root")}) // mount points themselves are refused on Windows
	_, err = s.Images.PullImage(testContext(t), &cri.PullImageRequest{Image: &cri.ImageSpec{Image: env.registry.big}})
	full := "no space"
	if env.windows != nil {
		full = "Disk full" // in Wine's words
	}
	refused(t, err, full, codes.ResourceExhausted)
	r, err := s.Images.ListImages(testContext(t), &cri.ListImagesRequest{})
	if err != nil || len(r.Images) != 0 {
		t.Errorf("images after it: %v, %v", r.GetImages(), err)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(root, &fs); err != nil {
		t.Fatal(err)
	}
	if free := fs.Bfree * uint64(fs.Bsize); free < 2<<20 {
		t.Errorf("only %d bytes of 3 MiB are free: the failed pull left its files", free)
	}
}

func TestGuestDies(t *testing.T) {
	s := ownServer(t, serverConfig{})
	for _, c := range []struct {
		name string
		end  func(p *pod, k *container)
		says string
	}{
		{"killed", func(p *pod, _ *container) {
			for _, pid := range vmPIDs(t, s) {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}, ""},
		{"panics", func(p *pod, k *container) {
			p.s.ExecSync(testContext(t), &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"sh", "-c", "echo c > /proc/sysrq-trigger"}, Timeout: 20})
		}, "sysrq"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := runPod(t, s, func(c *cri.PodSandboxConfig) {
				c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{Privileged: true}
			})
			config := sh("sleeper", "exec sleep 600")
			config.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{Privileged: true}
			k := p.start(config)
			c.end(p, k)
			eventually(t, "the pod is not ready", func() bool { return p.status().State == cri.PodSandboxState_SANDBOX_NOTREADY })
			if st := k.wait(); st.ExitCode == 0 {
				t.Errorf("the container of a dead VM: exit code 0")
			}
			_, err := p.s.ExecSync(testContext(t), &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"true"}})
			if err == nil {
				t.Error("exec in a dead VM succeeded")
			}
			r, err := p.s.PodSandboxStatus(testContext(t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
			if err != nil {
				t.Fatal(err)
			}
			if c.says != "" && !strings.Contains(r.Info["info"], c.says) {
				t.Errorf("the verbose status does not hold the console's %q:\n%s", c.says, r.Info["info"])
			}
		})
	}
}

// TestGuestNeverAnswers boots a guest whose agent is missing: RunPodSandbox must say so
// with the console's tail, and leave nothing.
func TestGuestNeverAnswers(t *testing.T) {
	guest := brokenGuest(t)
	s := ownServer(t, serverConfig{guest: guest, vm: "start_timeout = \"20s\""})
	before := hostState(t)
	start := time.Now()
	_, err := s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: podConfig(t)})
	refused(t, err, "panic", codes.Unavailable)
	if took := time.Since(start); took > 40*time.Second {
		t.Errorf("it took %v to find out, with a limit of 20 s", took)
	}
	sameHost(t, before, hostState(t))
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "run", "shims", "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
