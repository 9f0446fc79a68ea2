package e2e

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/test/registry"
)

// What the storm lasts, and what it is drawn from, unless PORTHOLE_STRESS_TIME and
// PORTHOLE_STRESS_SEED say.
func stormOf(t *testing.T) (time.Duration, uint64) {
	d, seed := 2*time.Minute, uint64(time.Now().UnixNano())
	if set, err := time.ParseDuration(os.Getenv("PORTHOLE_STRESS_TIME")); err == nil {
		d = set
	}
	if set, err := strconv.ParseUint(os.Getenv("PORTHOLE_STRESS_SEED"), 10, 64); err == nil {
		seed = set
	}
	t.Logf("PORTHOLE_STRESS_SEED=%d PORTHOLE_STRESS_TIME=%v", seed, d)
	return d, seed
}

// patience is how long a caller waits that does not give up early: on the emulator of Hyper-V the first pods take longer
// than elsewhere, as each program begins in Wine.
func patience() time.Duration {
	if env.windows != nil {
		return time.Minute
	}
	return 20 * time.Second
}

// usageWait is how long the daemon waits for figures of VMs that may hang.
const usageWait = 3 * time.Second

// storm is callers at random on a server whose host fails. test/simnode does the same on
// simulated VMs, far faster, with a model of each answer; here the host is real, and what
// counts is that nothing of it is left, that logs are whole, and that no call hangs.
type storm struct {
	t    *testing.T
	s    *server
	logs string
	conf string // the CNI conf list

	mu     sync.Mutex // guards the rest
	pods   []*cri.PodSandboxConfig
	calls  map[string]int // by method and code
	harmed int
}

// TestStress lets eight callers run, stop and remove three pods and their containers at
// random while VMs are killed and stopped, the CNI conf is broken, pulls are cut, callers
// give up and the daemon is killed and started again.
func TestStress(t *testing.T) {
	testneed.Long(t)
	d, seed := stormOf(t)
	s := ownServer(t, serverConfig{})
	s.pull(t, env.registry.sample)
	// A template that is made has a VM too.
	if err := s.AwaitTemplates(testContext(t)); err != nil {
		t.Fatal(err)
	}
	before := hostState(t)
	w := &storm{t: t, s: s, logs: t.TempDir(), conf: filepath.Join(s.Dir, "cni", "10-porthole.conflist"), calls: map[string]int{}}
	for i := range 3 {
		c := podConfig(t)
		c.Metadata.Name, c.LogDirectory = fmt.Sprint("stress-", i), w.logs
		w.pods = append(w.pods, c)
	}
	// On a busy machine it takes longer until enough has happened. (testContext is for calls,
	// and shorter.)
	ctx, cancel := context.WithTimeout(t.Context(), 4*d)
	defer cancel()
	begin := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil && (time.Since(begin) < d || !w.enough()) {
			sleep(ctx, 100*time.Millisecond)
		}
		cancel()
	})
	for i := range 8 {
		wg.Go(func() { w.call(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	w.harm(ctx, rand.New(rand.NewPCG(seed, 100)))
	wg.Wait()
	t.Log(w.calls)
	// What callers gave up on is undone after they have gone, and is in no list meanwhile.
	eventually(t, "all pods are removed", func() bool { return s.RemovePods(testContext(t)) == nil })
	if err := s.AwaitTemplates(testContext(t)); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(deadline); time.Now().Before(end); sleep(t.Context(), 100*time.Millisecond) {
		if maps.Equal(before, hostState(t)) && len(leftovers(t, s)) == 0 {
			break // else checkEmpty tells what is left
		}
	}
	checkEmpty(t, s, before)
	w.checkLogs()
	if !w.enough() {
		t.Errorf("too little happened for this to be a test: %v", w.calls)
	}
}

// enough tells whether callers got anywhere.
func (w *storm) enough() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls["RunPodSandbox OK"] >= 2 && w.calls["StartContainer OK"] >= 1 && w.harmed >= 3
}

// harm breaks what a host can break, and mends it again.
func (w *storm) harm(ctx context.Context, r *rand.Rand) {
	conf, err := os.ReadFile(w.conf)
	if err != nil {
		w.t.Fatal(err)
	}
	defer env.registry.Heal()
	for ctx.Err() == nil {
		w.mu.Lock()
		begun := w.calls["StartContainer OK"] > 0
		w.mu.Unlock()
		if !begun { // there is nothing to harm yet, and a busy machine takes long to make it
			sleep(ctx, 100*time.Millisecond)
			continue
		}
		sleep(ctx, time.Duration(2000+r.IntN(4000))*time.Millisecond)
		w.mu.Lock()
		w.harmed++
		w.mu.Unlock()
		var vm int
		if pids := vmPIDs(w.t, w.s); len(pids) > 0 {
			vm = pids[r.IntN(len(pids))]
		}
		switch r.IntN(5) {
		case 0:
			if vm != 0 {
				_ = syscall.Kill(vm, syscall.SIGKILL)
			}
		case 1: // a guest that hangs
			if vm != 0 && syscall.Kill(vm, syscall.SIGSTOP) == nil {
				sleep(ctx, time.Second)
				_ = syscall.Kill(vm, syscall.SIGCONT)
			}
		case 2:
			w.write(`{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "no-such-plugin"}]}`)
			sleep(ctx, 500*time.Millisecond)
			w.write(string(conf))
		case 3:
			env.registry.Inject(registry.Fault{Path: "e2e/layered/blobs/", CutAfter: 1000, NoRange: true})
			sleep(ctx, 500*time.Millisecond)
			env.registry.Heal()
		case 4:
			if err := w.s.Kill(); err != nil {
				w.t.Errorf("kill the daemon: %v", err)
			}
			if err := w.s.Start(testContext(w.t)); err != nil {
				w.t.Errorf("start the daemon: %v", err)
			}
		}
	}
}

func (w *storm) write(conf string) {
	if err := os.WriteFile(w.conf, []byte(conf), 0o644); err != nil {
		w.t.Error(err)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// call does what callers do until ctx ends.
func (w *storm) call(ctx context.Context, r *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		limit := patience()
		if r.IntN(5) == 0 {
			limit = time.Duration(r.IntN(1500)) * time.Millisecond
		}
		opCtx, cancel := context.WithTimeout(ctx, limit)
		begin := time.Now()
		method, err := w.one(opCtx, r, n)
		took := time.Since(begin)
		cancel()
		code := status.Code(err)
		w.mu.Lock()
		w.calls[method+" "+code.String()]++
		w.mu.Unlock()
		if took > limit+3*time.Second {
			w.t.Errorf("%s with %v to go took %v", method, limit, took)
		}
		// All that can go wrong here has a code that tells a caller what to do. CNI's
		// plugins and a VM that is killed at work may say anything.
		if code == codes.Unknown || code == codes.DataLoss || strings.Contains(fmt.Sprint(err), "panic") {
			w.t.Errorf("%s: %v", method, err)
		}
		if code == codes.Internal { // which a VM that is killed at work may say, and little else
			w.t.Logf("%s: %v", method, err)
		}
		if strings.HasPrefix(method, "List") && code == codes.DeadlineExceeded && limit > usageWait+2*time.Second && ctx.Err() == nil {
			w.t.Errorf("%s waits for a VM: %v", method, err)
		}
		if err != nil {
			sleep(ctx, 200*time.Millisecond)
		}
	}
}

// one makes one call, and returns its method.
func (w *storm) one(ctx context.Context, r *rand.Rand, n int) (string, error) {
	s := w.s
	pods, err := s.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return "ListPodSandbox", err
	}
	containers, err := s.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return "ListContainers", err
	}
	config := w.pods[r.IntN(len(w.pods))]
	there := slices.ContainsFunc(pods.Items, func(p *cri.PodSandbox) bool { return p.Metadata.Name == config.Metadata.Name })
	if len(pods.Items) == 0 || !there || r.IntN(20) == 0 {
		_, err := s.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
		return "RunPodSandbox", err
	}
	pod := pods.Items[r.IntN(len(pods.Items))]
	if len(containers.Containers) == 0 || len(containers.Containers) < 9 && r.IntN(6) == 0 {
		name := fmt.Sprintf("c%d-%d", r.IntN(3), r.Uint32()) // its log is its own
		script := fmt.Sprintf(`i=0; while :; do i=$((i+1)); echo "%s $i"; sleep 0.1; done`, name)
		c, err := s.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: pod.Id, SandboxConfig: config, Config: sh(name, script)})
		if err != nil {
			return "CreateContainer", err
		}
		_, err = s.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId})
		return "StartContainer", err
	}
	c := containers.Containers[r.IntN(len(containers.Containers))]
	ends := r.IntN(12) // of pods, which take long to make
	switch draw := r.IntN(12); {
	case draw < 2 && ends > 2:
		_, err = s.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.Id, Verbose: true})
		return "ContainerStatus", err
	case draw == 0:
		_, err = s.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod.Id})
		return "StopPodSandbox", err
	case draw == 1:
		_, err = s.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod.Id})
		return "RemovePodSandbox", err
	case draw == 2:
		_, err = s.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: c.Id, Timeout: int64(r.IntN(2))})
		return "StopContainer", err
	case draw == 3:
		_, err = s.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: c.Id})
		return "RemoveContainer", err
	case draw == 4:
		_, err = s.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: env.registry.layered}})
		return "PullImage", err
	case draw == 5:
		_, err = s.Images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: env.registry.layered}})
		return "RemoveImage", err
	case draw == 6:
		_, err = s.ListContainerStats(ctx, &cri.ListContainerStatsRequest{})
		return "ListContainerStats", err
	case draw == 7:
		_, err = s.UpdateContainerResources(ctx, &cri.UpdateContainerResourcesRequest{ContainerId: c.Id, Linux: &cri.LinuxContainerResources{CpuShares: int64(100 + r.IntN(900))}})
		return "UpdateContainerResources", err
	default:
		x, err := s.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: c.Id, Cmd: []string{"echo", "word"}, Timeout: 15})
		// Another caller may end the container, and what runs in it with it.
		if err == nil && x.ExitCode != 128+9 && (string(x.Stdout) != "word\n" || x.ExitCode != 0) {
			w.t.Errorf("exec of echo: %d %q %q", x.ExitCode, x.Stdout, x.Stderr)
		}
		return "ExecSync", err
	}
}

// checkLogs looks into each container's log: it holds what that container printed, each
// line once, in order and from the first on.
func (w *storm) checkLogs() {
	paths, err := filepath.Glob(filepath.Join(w.logs, "*.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	lines := 0
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			w.t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".log")
		n := 0
		for in := bufio.NewScanner(f); in.Scan(); {
			n++
			if want := fmt.Sprintf("stdout F %s %d", name, n); !strings.HasSuffix(in.Text(), want) {
				w.t.Errorf("line %d of the log of %s is %q, not %q", n, name, in.Text(), want)
				break
			}
		}
		f.Close()
		lines += n
	}
	// On a busy machine none may have got to print before its VM was killed.
	w.t.Logf("%d logs, %d lines", len(paths), lines)
}
