package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// peakMiB is the most memory that a process has held so far.
func peakMiB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "VmHWM:")
	if !ok {
		t.Fatalf("process %d has no VmHWM", pid)
	}
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// TestOutputFlood has containers print without end, also lines of 1 MiB, while a client
// that is attached reads nothing and the log's disk is full: the host's memory stays
// bounded, and both pods go on.
func TestOutputFlood(t *testing.T) {
	logs := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", logs, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(logs, 0); err != nil {
			t.Error(err)
		}
	})
	s := ownServer(t, serverConfig{})
	p := runPod(t, s, func(c *cri.PodSandboxConfig) { c.LogDirectory = logs })
	shims := shimPIDs(t, s)
	other := runPod(t, s, func(c *cri.PodSandboxConfig) { c.Metadata.Name = "other" })
	quiet := other.start(sh("quiet", "exec sleep 600"))
	loud := p.start(sh("loud", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exec yes"))
	p.start(sh("long-lines", `while :; do head -c 1048576 /dev/zero | tr '\0' x; echo; done`))

	attach := s.Crictl(testContext(t), "attach", loud.id)
	if _, err := attach.StdoutPipe(); err != nil { // which nobody reads
		t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		attach.Process.Kill()
		attach.Wait() // it was killed
	}()
	loud.exec("touch /tmp/go")
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if err := within(t, "exec in another pod", 10*time.Second, func(context.Context) error {
			quiet.exec("true")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range shims {
		if got := peakMiB(t, pid); got > 96 {
			t.Errorf("the shim has held %d MiB, want at most 96", got)
		}
	}
	if got := peakMiB(t, s.PID()); got > 256 {
		t.Errorf("the daemon has held %d MiB, want at most 256", got)
	}
	t.Logf("shim %d MiB, daemon %d MiB", peakMiB(t, shims[0]), peakMiB(t, s.PID()))
	if got := loud.exec("echo still here"); got != "still here" {
		t.Errorf("exec in the pod that floods: %q", got)
	}
}

// TestPullStalls pulls from a registry that stops in the middle of a blob.
func TestPullStalls(t *testing.T) {
	s := ownServer(t, serverConfig{images: `stall_timeout = "1s"`})
	stalled := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := s.Images.PullImage(testContext(t), &cri.PullImageRequest{Image: &cri.ImageSpec{Image: env.registry.stalling}})
		stalled <- err
	}()
	s.pull(t, env.registry.sample) // is served meanwhile
	select {
	case err := <-stalled:
		t.Fatalf("the pull ended before the server had served another: %v", err)
	default:
	}
	err := <-stalled
	refused(t, err, "images.stall_timeout", codes.Unavailable)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v to give up, with a limit of 1 s", took)
	}
	r, err := s.Images.ListImages(testContext(t), &cri.ListImagesRequest{})
	if err != nil || len(r.Images) != 1 {
		t.Errorf("images: %v, %v, want the one that was pulled", r.GetImages(), err)
	}
}
