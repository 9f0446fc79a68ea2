package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ownServer starts a server for one test and checks at its end that nothing is left.
func ownServer(t *testing.T, c serverConfig) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "pe2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := newServer(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	before := hostState(t)
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitTemplates(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		sameHost(t, before, hostState(t))
		nothingLeft(t, s)
		if t.Failed() {
			s.DumpLog(os.Stderr)
		}
	})
	return s
}

func TestNothingIsLeft(t *testing.T) {
	s := ownServer(t, serverConfig{})
	for i := range 2 {
		p := runPod(t, s, func(c *cri.PodSandboxConfig) { c.Metadata.Name = fmt.Sprintf("pod-%d", i) })
		p.start(sh("sleeper", "exec sleep 600"))
	}
}

func TestDaemonKilled(t *testing.T) {
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	counter := p.start(sh("counter", `i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done`))
	short := p.start(sh("short", `while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 8`))
	eventually(t, "the counter counts", func() bool { return strings.Contains(counter.stdout(), "3\n") })
	short.exec("(sleep 0.5; touch /tmp/go) >/dev/null 2>&1 &")

	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	at := strings.Count(counter.stdout(), "\n")
	eventually(t, "the log goes on without the daemon", func() bool { return strings.Count(counter.stdout(), "\n") > at+20 })
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}

	if st := p.status(); st.State != cri.PodSandboxState_SANDBOX_READY || st.Network.GetIp() == "" {
		t.Errorf("the pod after the restart: %v", st)
	}
	if st := counter.status(); st.State != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container after the restart: %v", st)
	}
	if st := short.wait(); st.ExitCode != 8 {
		t.Errorf("a container that exited while no daemon ran: exit code %d, want 8", st.ExitCode)
	}
	if got := counter.exec("echo still here"); got != "still here" {
		t.Errorf("exec after the restart: %q", got)
	}
	if _, err := s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: counter.id}); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Fields(counter.stdout()) {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d of the log is %q: a line was lost", i+1, line)
		}
	}
}

func TestReboot(t *testing.T) {
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	k := p.start(sh("sleeper", "exec sleep 600"))
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	// What a reboot does: processes end, /run is empty, interfaces are gone.
	pids := shimPIDs(t, s)
	if len(pids) != 1 {
		t.Fatalf("shims of the server: %v, want one", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "QEMU went with its shim", func() bool { return hostState(t)["shim"] == hostState(t)["qemu"] })
	mounts, _ := filepath.Glob(filepath.Join(s.Dir, "run", "netns", "*"))
	for _, m := range mounts {
		if err := syscall.Unmount(m, syscall.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.Dir, "run")); err != nil {
		t.Fatal(err)
	}

	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if st := p.status(); st.State != cri.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("the pod after a reboot: %v", st.State)
	}
	if st := k.status(); st.State != cri.ContainerState_CONTAINER_EXITED || st.ExitCode == 0 {
		t.Errorf("the container after a reboot: %v, exit code %d", st.State, st.ExitCode)
	}
}
