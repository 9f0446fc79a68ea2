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

	"github.com/porthole-run/porthole/internal/testneed"
)

// within checks that a call ends in time; its error is returned.
func within(t *testing.T, what string, limit time.Duration, call func(context.Context) error) error {
	t.Helper()
	start := time.Now()
	err := call(testContext(t))
	took := time.Since(start)
	t.Logf("%s took %v: %v", what, took.Round(time.Millisecond), err)
	if took > limit {
		t.Errorf("%s took %v, want at most %v", what, took, limit)
	}
	return err
}

func freeze(t *testing.T, pids []int) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatal("no process to stop")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGuestHangs stops a VM's processors: calls into it end in time and say what is the
// matter, and the pod can be stopped and removed.
func TestGuestHangs(t *testing.T) {
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	k := p.start(sh("sleeper", "exec sleep 600"))
	hung := vmPIDs(t, s)
	sound := runPod(t, s).start(sh("sound", "exec sleep 600"))
	freeze(t, hung)

	// Lists of figures wait for it shortly, and have the others'.
	err := within(t, "ListContainerStats", 10*time.Second, func(ctx context.Context) error {
		r, err := s.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
		if n := len(r.GetStats()); n != 1 || r.Stats[0].Attributes.Id != sound.id {
			t.Errorf("figures of %d containers, want those of the one whose VM answers", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	err = within(t, "ContainerStats", 10*time.Second, func(ctx context.Context) error {
		_, err := s.ContainerStats(ctx, &cri.ContainerStatsRequest{ContainerId: k.id})
		return err
	})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("figures of a VM that hangs: %v", err)
	}
	err = within(t, "ExecSync", 15*time.Second, func(ctx context.Context) error {
		_, err := s.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: k.id, Cmd: []string{"true"}, Timeout: 1})
		return err
	})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("exec in a VM that hangs: %v", err)
	}
	// What the daemon knows it goes on to tell.
	if st := p.status(); st.State != cri.PodSandboxState_SANDBOX_READY {
		t.Errorf("the pod: %v", st.State)
	}
	err = within(t, "StopPodSandbox", 45*time.Second, func(ctx context.Context) error {
		_, err := s.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if st := k.wait(); st.ExitCode != 137 {
		t.Errorf("the container of a VM that hung: %v", st)
	}
}

// TestShimHangs stops a shim: a new daemon serves all the same, and the pod can be removed.
func TestShimHangs(t *testing.T) {
	testneed.Long(t)
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	freeze(t, shimPIDs(t, s))
	if err := within(t, "the start", 25*time.Second, s.Start); err != nil {
		t.Fatal(err)
	}
	r, err := s.PodSandboxStatus(testContext(t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil || r.Status.State != cri.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("a pod whose shim hangs: %v, %v", r.GetStatus(), err)
	}
	err = within(t, "RemovePodSandbox", 60*time.Second, func(ctx context.Context) error {
		_, err := s.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id})
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLogDiskFull gives a pod a log folder that fills up: the container goes on, and so
// does its log once there is room.
func TestLogDiskFull(t *testing.T) {
	logs := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", logs, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(logs, 0); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(logs, "filler")
	p := runPod(t, env.server, func(c *cri.PodSandboxConfig) { c.LogDirectory = logs })
	k := p.start(sh("talker", "echo first; while [ ! -e /tmp/go ]; do sleep 0.1; done; i=0; while [ $i -lt 4000 ]; do echo lost; i=$((i+1)); done; echo done > /tmp/done; while [ ! -e /tmp/again ]; do sleep 0.1; done; echo last"))
	eventually(t, "the first line is there", func() bool { return k.stdout() == "first\n" })
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<12))
	}
	f.Close()
	k.exec("touch /tmp/go; while [ ! -e /tmp/done ]; do sleep 0.1; done")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// Not at once: the container ends then, and what runs in it with it.
	k.exec("(sleep 1; touch /tmp/again) > /dev/null 2>&1 &")
	if st := k.wait(); st.ExitCode != 0 {
		t.Errorf("the container whose log's disk was full: %v", st)
	}
	text, err := os.ReadFile(filepath.Join(logs, "talker.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) >= 4002 {
		t.Errorf("the log has all lines: its disk was not full")
	}
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, " stdout F last") {
		t.Errorf("the log's last line is %q", last)
	}
}
