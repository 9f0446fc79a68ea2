package apps

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// deadline bounds a call: under emulation an application may take minutes to start.
const deadline = 10 * time.Minute

// pod is a machine that is a real one: a VM of its own.
type pod struct {
	id     string
	config *cri.PodSandboxConfig
	runs   int // containers so far: each has a name of its own
}

func newPod(t *testing.T) *pod {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	p := &pod{config: &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "apps", Uid: strconv.FormatInt(time.Now().UnixNano(), 10)},
		LogDirectory: t.TempDir(),
		Linux:        &cri.LinuxPodSandboxConfig{},
	}}
	p.boot(t)
	t.Cleanup(func() { p.remove(t) })
	return p
}

// boot runs the pod's sandbox, anew after a crash.
func (p *pod) boot(t *testing.T) {
	t.Helper()
	timed(t, "the pod's start", func() {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		r, err := env.server.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: p.config})
		if err != nil {
			t.Fatalf("RunPodSandbox: %v", err)
		}
		p.id = r.PodSandboxId
	})
}

func (p *pod) remove(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := env.server.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Errorf("RemovePodSandbox(%s): %v", p.id, err)
	}
}

// crash kills the VM. A pod of the same name takes its place at once, as the kubelet
// would make it.
func (p *pod) crash(t *testing.T) {
	t.Helper()
	vms, err := env.server.VMs(p.id)
	if err != nil || len(vms) != 1 {
		t.Fatalf("VMs of pod %s: %v, %v, want one", p.id, vms, err)
	}
	if err := syscall.Kill(vms[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.remove(t)
	p.config.Metadata.Attempt++
	p.boot(t)
}

// criContainer is a container of a pod.
type criContainer struct {
	id  string
	out string // its log
}

func (p *pod) run(t *testing.T, s spec) container {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ref := p.pull(ctx, t, s)
	p.runs++
	name := fmt.Sprintf("%s-%d", s.name, p.runs)
	c := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: ref},
		Command:  []string{"/bin/bash", "-c", s.script},
		LogPath:  name + ".log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
			RunAsUser: &cri.Int64Value{Value: int64(s.app.UID)}, RunAsGroup: &cri.Int64Value{Value: int64(s.app.UID)},
		}},
	}
	for at, folder := range s.folders {
		c.Mounts = append(c.Mounts, &cri.Mount{ContainerPath: at, HostPath: folder})
	}
	for _, e := range s.env {
		key, value, _ := strings.Cut(e, "=")
		c.Envs = append(c.Envs, &cri.KeyValue{Key: key, Value: []byte(value)})
	}
	created, err := env.server.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: p.id, Config: c, SandboxConfig: p.config})
	if err != nil {
		t.Fatalf("CreateContainer(%s): %v", name, err)
	}
	if _, err := env.server.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		t.Fatalf("StartContainer(%s): %v", name, err)
	}
	return &criContainer{id: created.ContainerId, out: filepath.Join(p.config.LogDirectory, c.LogPath)}
}

// pull pushes an application's image to the test's registry and pulls it, once a run.
func (p *pod) pull(ctx context.Context, t *testing.T, s spec) string {
	t.Helper()
	ref := env.registry.Host() + "/apps/" + s.app.Name + ":1"
	st, err := env.server.Images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}})
	if err == nil && st.Image != nil {
		return ref
	}
	timed(t, "the image's build, push and pull", func() {
		if _, err := env.registry.Push(ctx, "apps/"+s.app.Name, "1", image(t, s.app)); err != nil {
			t.Fatal(err)
		}
		if _, err := env.server.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}}); err != nil {
			t.Fatalf("PullImage(%s): %v", ref, err)
		}
	})
	return ref
}

func (c *criContainer) try(script string) (string, int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	r, err := env.server.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: c.id, Cmd: []string{"/bin/bash", "-c", script}, Timeout: int64(deadline.Seconds())})
	return string(r.GetStdout()) + string(r.GetStderr()), int(r.GetExitCode()), err
}

func (c *criContainer) kill(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := env.server.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: c.id}); err != nil {
		t.Fatalf("StopContainer: %v", err)
	}
}

func (c *criContainer) running(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := env.server.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.id})
	if status.Code(err) == codes.NotFound {
		return false
	}
	if err != nil {
		t.Fatalf("ContainerStatus: %v", err)
	}
	return r.Status.State == cri.ContainerState_CONTAINER_RUNNING
}

// log leaves out the prefix that a CRI log's lines have.
func (c *criContainer) log(t *testing.T) string {
	var b strings.Builder
	for _, line := range lines(c.out) {
		f := strings.SplitN(line, " ", 4)
		b.WriteString(f[len(f)-1] + "\n")
	}
	return b.String()
}
