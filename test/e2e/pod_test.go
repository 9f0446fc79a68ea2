package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// deadline bounds a test's calls; VMs under emulation on a busy machine are slow.
const deadline = 90 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// pod is a running pod sandbox of a test, removed at its end.
type pod struct {
	t      *testing.T
	s      *server
	id     string
	config *cri.PodSandboxConfig
}

// podConfig is a pod's usual configuration, with a name of its own.
func podConfig(t *testing.T) *cri.PodSandboxConfig {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	if len(name) > 50 {
		name = name[:50]
	}
	logs := t.TempDir()
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "e2e", Uid: fmt.Sprintf("uid-%d", time.Now().UnixNano())},
		LogDirectory: logs,
		Labels:       map[string]string{"test": name},
		Linux:        &cri.LinuxPodSandboxConfig{},
	}
}

func runPod(t *testing.T, s *server, change ...func(*cri.PodSandboxConfig)) *pod {
	t.Helper()
	c := podConfig(t)
	for _, f := range change {
		f(c)
	}
	r, err := s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c})
	if err != nil {
		t.Fatalf("RunPodSandbox: %v", err)
	}
	p := &pod{t: t, s: s, id: r.PodSandboxId, config: c}
	t.Cleanup(p.remove)
	return p
}

func (p *pod) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := p.s.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.t.Errorf("RemovePodSandbox(%s): %v", p.id, err)
	}
}

func (p *pod) status() *cri.PodSandboxStatus {
	p.t.Helper()
	r, err := p.s.PodSandboxStatus(testContext(p.t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil {
		p.t.Fatalf("PodSandboxStatus: %v", err)
	}
	return r.Status
}

// container is a container of a test's pod.
type container struct {
	*pod
	id     string
	config *cri.ContainerConfig
}

// sh makes a container config that runs a shell script in the sample image.
func sh(name, script string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: env.registry.sample},
		Command:  []string{"/bin/sh", "-c", script},
		LogPath:  name + ".log",
		Linux:    &cri.LinuxContainerConfig{},
	}
}

func (p *pod) tryCreate(c *cri.ContainerConfig) (string, error) {
	p.t.Helper()
	p.s.pull(p.t, c.Image.Image)
	r, err := p.s.CreateContainer(testContext(p.t), &cri.CreateContainerRequest{PodSandboxId: p.id, Config: c, SandboxConfig: p.config})
	return r.GetContainerId(), err
}

func (p *pod) create(c *cri.ContainerConfig) *container {
	p.t.Helper()
	id, err := p.tryCreate(c)
	if err != nil {
		p.t.Fatalf("CreateContainer(%s): %v", c.Metadata.Name, err)
	}
	return &container{pod: p, id: id, config: c}
}

func (p *pod) start(c *cri.ContainerConfig) *container {
	p.t.Helper()
	k := p.create(c)
	k.start()
	return k
}

func (k *container) start() {
	k.t.Helper()
	if _, err := k.s.StartContainer(testContext(k.t), &cri.StartContainerRequest{ContainerId: k.id}); err != nil {
		k.t.Fatalf("StartContainer(%s): %v", k.config.Metadata.Name, err)
	}
}

func (k *container) status() *cri.ContainerStatus {
	k.t.Helper()
	r, err := k.s.ContainerStatus(testContext(k.t), &cri.ContainerStatusRequest{ContainerId: k.id})
	if err != nil {
		k.t.Fatalf("ContainerStatus: %v", err)
	}
	return r.Status
}

// wait returns the container's status once it has exited.
func (k *container) wait() *cri.ContainerStatus {
	k.t.Helper()
	var s *cri.ContainerStatus
	eventually(k.t, "container "+k.config.Metadata.Name+" has exited", func() bool {
		s = k.status()
		return s.State == cri.ContainerState_CONTAINER_EXITED
	})
	return s
}

func (k *container) remove() {
	k.t.Helper()
	if _, err := k.s.RemoveContainer(testContext(k.t), &cri.RemoveContainerRequest{ContainerId: k.id}); err != nil {
		k.t.Errorf("RemoveContainer: %v", err)
	}
}

// logLines returns the text of the container's log, by stream, without the CRI prefix.
func (k *container) logText(stream string) string {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join(k.pod.config.LogDirectory, k.config.LogPath))
	if err != nil {
		k.t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 {
			k.t.Fatalf("not a CRI log line: %q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil {
			k.t.Fatalf("log line %q: %v", line, err)
		}
		if f[1] != stream {
			continue
		}
		if f[2] == "P" {
			f[3] = strings.TrimSuffix(f[3], "\n")
		}
		b.WriteString(f[3])
	}
	return b.String()
}

func (k *container) stdout() string { k.t.Helper(); return k.logText("stdout") }

// exec runs a shell script in the container and returns what it printed.
func (k *container) exec(script string) string {
	k.t.Helper()
	r, err := k.s.ExecSync(testContext(k.t), &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"/bin/sh", "-c", script}, Timeout: 60})
	if err != nil {
		k.t.Fatalf("ExecSync(%q): %v", script, err)
	}
	if r.ExitCode != 0 {
		k.t.Fatalf("ExecSync(%q) exited with %d: %s%s", script, r.ExitCode, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(string(r.Stdout))
}

// output runs a script as a container of its own and returns its standard output.
func (p *pod) output(name, script string, change ...func(*cri.ContainerConfig)) string {
	p.t.Helper()
	c := sh(name, script)
	for _, f := range change {
		f(c)
	}
	k := p.start(c)
	if s := k.wait(); s.ExitCode != 0 {
		p.t.Fatalf("container %s exited with %d (%s): %s%s", name, s.ExitCode, s.Reason, k.stdout(), k.logText("stderr"))
	}
	return strings.TrimSpace(k.stdout())
}

// pull pulls an image unless it is there.
func (s *server) pull(t *testing.T, ref string) string {
	t.Helper()
	st, err := s.Images.ImageStatus(testContext(t), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}})
	if err == nil && st.Image != nil {
		return st.Image.Id
	}
	r, err := s.Images.PullImage(testContext(t), &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}})
	if err != nil {
		t.Fatalf("PullImage(%s): %v", ref, err)
	}
	return r.ImageRef
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", deadline, what)
		case <-tick.C:
		}
	}
}
