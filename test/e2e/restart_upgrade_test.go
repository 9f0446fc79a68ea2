package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestUpgrade runs pods with one build, ends it, takes its program away as a package's
// upgrade does, and goes on with another build at another place. Windows takes no program away
// that runs, as a shim's does, and an upgrade there leaves it.
func TestUpgrade(t *testing.T) {
	s := ownServer(t, serverConfig{})
	newer, older, bin, program, system := t.TempDir(), t.TempDir(), env.bin, "porthole", "linux"
	if env.windows != nil {
		bin, program, system = env.windows.bin, "porthole.exe", "windows"
	}
	build := exec.CommandContext(testContext(t), "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=9.9.9-test",
		"-o", newer, "./cmd/porthole")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	text, err := os.ReadFile(filepath.Join(bin, program))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(older, program), text, 0o755); err != nil {
		t.Fatal(err)
	}
	end := s.End
	if env.windows != nil {
		end = s.Kill // which is how they end there
	}
	run := func(bin string) {
		t.Helper()
		s.Use(bin)
		if err := s.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}

	if err := end(); err != nil { // it has nothing yet; the older build takes its folders
		t.Fatal(err)
	}
	run(older)
	p := runPod(t, s)
	counter := p.start(sh("counter", `i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done`))
	waiting := p.create(sh("waiting", "echo started after; exec sleep 600"))
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if env.windows == nil {
		if err := os.RemoveAll(older); err != nil {
			t.Fatal(err)
		}
	}

	run(newer)
	v, err := s.Version(testContext(t), &cri.VersionRequest{})
	if err != nil || v.RuntimeVersion != "9.9.9-test" {
		t.Errorf("the server that answers is %v, %v", v, err)
	}
	st, err := s.PodSandboxStatus(testContext(t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil || st.Status.State != cri.PodSandboxState_SANDBOX_READY {
		t.Fatalf("the pod after the upgrade: %v, %v", st, err)
	}
	if strings.Contains(st.Info["info"], "9.9.9-test") {
		t.Errorf("the pod's shim is not the older build's:\n%s", st.Info["info"])
	}
	if got := counter.exec("echo still here"); got != "still here" {
		t.Errorf("exec: %q", got)
	}
	// A shim from before there were figures has none, and says so.
	_, err = s.ContainerStats(testContext(t), &cri.ContainerStatsRequest{ContainerId: counter.id})
	before := strings.Contains(st.Info["info"], `"protocol":1,`) || strings.Contains(st.Info["info"], `"protocol":2,`)
	if code := status.Code(err); before && code != codes.Unimplemented || !before && code != codes.OK {
		t.Errorf("ContainerStats over the older shim: %v\n%s", err, st.Info["info"])
	}
	if _, err := s.ListContainerStats(testContext(t), &cri.ListContainerStatsRequest{}); err != nil {
		t.Errorf("ListContainerStats: %v", err)
	}
	waiting.start()
	eventually(t, "a container made before starts", func() bool { return waiting.stdout() == "started after\n" })
	later := p.start(sh("later", "exit 3"))
	if st := later.wait(); st.ExitCode != 3 {
		t.Errorf("a container made after: %v", st)
	}
	if _, err := s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: counter.id}); err != nil {
		t.Error(err)
	}
	for i, line := range strings.Fields(counter.stdout()) {
		if line != fmt.Sprint(i+1) {
			t.Fatalf("line %d of the log is %q: a line was lost", i+1, line)
		}
	}

	t.Run("foreign", func(t *testing.T) { foreign(t, s, p) })
	if err := end(); err != nil {
		t.Error(err)
	}
	run(bin) // for the checks at the end
}

// foreign has the server meet a shim that speaks no version of the protocol that it
// does: it serves, says so, and can still take the pod down.
func foreign(t *testing.T, s *server, p *pod) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(s.State, "vm", p.id, "c.sock")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	rpc, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	rpc.RegisterService("porthole.shim.v1.Shim", &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Hello": func(context.Context, func(any) error) (any, error) {
			return nil, status.Error(codes.FailedPrecondition, "shim 0.0.1 speaks versions 77 to 78 of the shim protocol")
		},
	}})
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(t.Context(), l) }()
	defer func() {
		rpc.Close()
		<-served
	}()
	if err := within(t, "the start", 20*time.Second, s.Start); err != nil {
		t.Fatal(err)
	}
	st, err := s.PodSandboxStatus(testContext(t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil || st.Status.State != cri.PodSandboxState_SANDBOX_NOTREADY || !strings.Contains(st.Info["info"], "versions 77 to 78") {
		t.Errorf("the pod of a shim with another protocol: %v, %v", st, err)
	}
	_, err = s.CreateContainer(testContext(t), &cri.CreateContainerRequest{PodSandboxId: p.id, SandboxConfig: p.config, Config: sh("more", "true")})
	refused(t, err, "versions 77 to 78", codes.FailedPrecondition)
	if _, err := s.StopPodSandbox(testContext(t), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Errorf("StopPodSandbox of such a pod: %v", err)
	}
}
