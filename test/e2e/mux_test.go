package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// peerCNI is a network for the other runtime's pods, apart from ours.
const peerCNI = `{"cniVersion":"1.0.0","name":"peer","plugins":[{"type":"bridge","bridge":"porthole-peer0","isGateway":true,
"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.77.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// withContainerd starts containerd, and a server that serves it beside its own pods.
func withContainerd(t *testing.T) (*server, *harness.Containerd) {
	t.Helper()
	testneed.Program(t, "containerd", "runc")
	ctx := testContext(t)
	pause, err := debimage.Variant(ctx, filepath.Join(env.cache, "debs"), func(c *v1.Config) {
		c.Entrypoint, c.Cmd = []string{"/bin/sleep", "1000000"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.registry.Push(ctx, "e2e/pause", "1", pause); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	peer, err := harness.NewContainerd(dir, env.registry.host+"/e2e/pause:1", fmt.Appendf(nil, peerCNI, filepath.Join(dir, "ipam")))
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := peer.End(); err != nil {
			t.Error(err)
		}
		_ = peer.Close()
	})
	s := ownServer(t, serverConfig{extra: fmt.Sprintf("[upstream]\nendpoint = \"unix://%s\"\n[handlers.vm]\n", peer.Socket)})
	return s, peer
}

// runAs runs a pod with a handler as a kubelet does, with the annotations and labels by
// which it is known again.
func runAs(t *testing.T, s *server, handler string) *pod {
	t.Helper()
	c := podConfig(t)
	c.Metadata.Name += "-" + handler
	c.Metadata.Uid += "-" + handler
	c.Labels = map[string]string{"io.kubernetes.pod.uid": c.Metadata.Uid}
	c.Annotations = map[string]string{"kubernetes.io/config.seen": time.Now().Format(time.RFC3339Nano), "kubernetes.io/config.source": "api"}
	resp, err := s.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c, RuntimeHandler: handler})
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, s: s, id: resp.PodSandboxId, config: c}
	t.Cleanup(p.remove)
	return p
}

// startAs starts a container as a kubelet does whose policy is IfNotPresent; pulled tells
// whether it had to pull.
func (p *pod) startAs(name, ref string) (k *container, pulled bool) {
	p.t.Helper()
	ctx := testContext(p.t)
	spec := &cri.ImageSpec{Image: ref, Annotations: p.config.Annotations}
	st, err := p.s.Images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: spec})
	if err != nil {
		p.t.Fatal(err)
	}
	id := st.GetImage().GetId()
	if st.GetImage() == nil {
		resp, err := p.s.Images.PullImage(ctx, &cri.PullImageRequest{Image: spec, SandboxConfig: p.config})
		if err != nil {
			p.t.Fatal(err)
		}
		id, pulled = resp.GetImageRef(), true
	}
	c := sh(name, "exec sleep 100000")
	c.Image = &cri.ImageSpec{Image: id, UserSpecifiedImage: ref}
	made, err := p.s.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: p.id, Config: c, SandboxConfig: p.config})
	if err != nil {
		p.t.Fatal(err)
	}
	k = &container{pod: p, id: made.GetContainerId(), config: c}
	k.start()
	return k, pulled
}

// TestMux_Containerd: pods in VMs and pods of containerd with runc at one endpoint, by
// their handlers, through an outage of containerd and a restart of our daemon.
func TestMux_Containerd(t *testing.T) {
	s, peer := withContainerd(t)
	ctx := testContext(t)
	pods, containers := map[string]*pod{}, map[string]*container{}
	for _, handler := range []string{"runc", "vm", ""} {
		p := runAs(t, s, handler)
		k, pulled := p.startAs("c", env.registry.sample)
		// The image is the other's until it is pulled here; the second pod in a VM has it.
		if want := handler != ""; pulled != want {
			t.Errorf("handler %q: the image was pulled: %v, want %v", handler, pulled, want)
		}
		pods[handler], containers[handler] = p, k
	}
	ours, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	for handler, k := range containers {
		inVM := k.exec("uname -r") != strings.TrimSpace(string(ours))
		if want := handler != "runc"; inVM != want {
			t.Errorf("handler %q: another kernel: %v, want %v", handler, inVM, want)
		}
		if out, err := s.Crictl(ctx, "exec", k.id, "echo", "streamed").CombinedOutput(); err != nil || string(out) != "streamed\n" {
			t.Errorf("handler %q: crictl exec = %q, %v", handler, out, err)
		}
	}
	peerPods, err := peer.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil || len(peerPods.GetItems()) != 1 || peerPods.GetItems()[0].GetId() != pods["runc"].id {
		t.Errorf("containerd has %v, %v, want the pod of runc", peerPods, err)
	}
	wantListed(t, s, pods)
	if got := falseConditions(t, s); len(got) != 0 {
		t.Errorf("conditions %q do not hold", got)
	}

	// Without containerd its pod stays listed, ours go on, and Status says so.
	if err := peer.End(); err != nil {
		t.Fatal(err)
	}
	wantListed(t, s, pods)
	if got := containers["vm"].exec("echo here"); got != "here" {
		t.Errorf("exec in a VM = %q", got)
	}
	_, err = s.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: containers["runc"].id, Cmd: []string{"true"}})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("exec without containerd = %v, want unavailable", err)
	}
	if got := falseConditions(t, s); !slices.Equal(got, []string{"upstreamReady"}) {
		t.Errorf("conditions %q do not hold, want upstreamReady alone", got)
	}
	if err := peer.Start(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "containerd is back", func() bool {
		r, err := s.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: containers["runc"].id, Cmd: []string{"true"}})
		return err == nil && r.GetExitCode() == 0
	})

	// A new daemon finds all of them again.
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for handler, k := range containers {
		if got := k.exec("echo found"); got != "found" {
			t.Errorf("handler %q after the restart: %q", handler, got)
		}
	}
	for _, p := range pods {
		p.remove()
	}
	if left, err := peer.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{}); err != nil || len(left.GetItems()) != 0 {
		t.Errorf("containerd still has %v, %v", left, err)
	}
	wantListed(t, s, nil)
}

func wantListed(t *testing.T, s *server, pods map[string]*pod) {
	t.Helper()
	resp, err := s.ListPodSandbox(testContext(t), &cri.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, p := range resp.GetItems() {
		got = append(got, p.GetId())
	}
	for _, p := range pods {
		want = append(want, p.id)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("pods %q are listed, want %q", got, want)
	}
}

// falseConditions are the conditions of Status that do not hold.
func falseConditions(t *testing.T, s *server) (out []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp, err := s.Status(ctx, &cri.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range resp.GetStatus().GetConditions() {
		if !c.GetStatus() {
			out = append(out, c.GetType())
		}
	}
	return out
}
