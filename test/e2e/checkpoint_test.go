package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// countScript counts in memory, into its output and into a file that it holds open.
const countScript = `exec 3>/tmp/open; i=0; while :; do i=$((i+1)); echo $i; echo $i >&3; sleep 0.05; done`

// checkpoint saves a pod with containers and returns where.
func (p *pod) checkpoint(containers ...*container) string {
	p.t.Helper()
	dir := p.t.TempDir()
	begin := time.Now()
	if err := p.tryCheckpoint(dir, containers...); err != nil {
		p.t.Fatalf("CheckpointPod: %v", err)
	}
	var sizes []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			p.t.Fatal(err)
		}
		sizes = append(sizes, fmt.Sprintf("%s %d KiB", e.Name(), st.Size()>>10))
	}
	p.t.Logf("checkpoint took %v: %s", time.Since(begin).Round(time.Millisecond), strings.Join(sizes, ", "))
	return dir
}

func (p *pod) tryCheckpoint(dir string, containers ...*container) error {
	r := &cri.CheckpointPodRequest{PodSandboxId: p.id, OutputPath: dir}
	for _, k := range containers {
		r.ContainerIds = append(r.ContainerIds, k.id)
	}
	_, err := p.s.CheckpointPod(testContext(p.t), r)
	return err
}

// restorePod makes a pod of a checkpoint; its containers are created.
func restorePod(t *testing.T, s *server, dir string, change func(*cri.RestorePodRequest), containers ...*cri.ContainerConfig) (*pod, []*container) {
	t.Helper()
	r := &cri.RestorePodRequest{CheckpointPath: dir, Config: podConfig(t), ContainerConfigs: containers}
	if change != nil {
		change(r)
	}
	begin := time.Now()
	resp, err := s.RestorePod(testContext(t), r)
	if err != nil {
		t.Fatalf("RestorePod: %v", err)
	}
	t.Logf("restore took %v", time.Since(begin).Round(time.Millisecond))
	p := &pod{t: t, s: s, id: resp.PodSandboxId, config: r.Config}
	t.Cleanup(p.remove)
	var out []*container
	for i, rc := range resp.RestoredContainers {
		if rc.Name != containers[i].Metadata.Name {
			t.Errorf("restored container %d is %s, want %s", i, rc.Name, containers[i].Metadata.Name)
		}
		k := &container{pod: p, id: rc.ContainerId, config: containers[i]}
		if got := k.status().State; got != cri.ContainerState_CONTAINER_CREATED {
			t.Errorf("restored container is %v", got)
		}
		out = append(out, k)
	}
	return p, out
}

// lines are the numbers that a counter has logged.
func (k *container) lines() []int {
	k.t.Helper()
	var out []int
	for _, f := range strings.Fields(k.stdout()) {
		n, err := strconv.Atoi(f)
		if err != nil {
			k.t.Fatalf("log of a counter: %q", f)
		}
		out = append(out, n)
	}
	return out
}

// inARow fails unless numbers are without a gap.
func inARow(t *testing.T, what string, n []int) {
	t.Helper()
	for i := 1; i < len(n); i++ {
		if n[i] != n[i-1]+1 {
			t.Errorf("%s: %d follows %d", what, n[i], n[i-1])
		}
	}
}

// TestCheckpoint saves a pod, which goes on, removes it, and restores it twice.
func TestCheckpoint(t *testing.T) {
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	counter := p.start(sh("counter", countScript))
	cat := sh("cat", "exec cat")
	cat.Stdin = true
	reader := p.start(cat)
	init := p.start(sh("init", "echo done")) // has exited by then
	if got := init.wait().ExitCode; got != 0 {
		t.Fatalf("exit code %d", got)
	}
	eventually(t, "the counter counts", func() bool { return len(counter.lines()) > 10 })
	pids := counter.exec("echo $PPID; cat /proc/sys/kernel/random/boot_id; cat /sys/class/net/eth0/address")

	dir := p.checkpoint(counter, reader)
	saved := len(counter.lines())
	eventually(t, "the counter goes on", func() bool { return len(counter.lines()) > saved+5 })
	inARow(t, "pod that was saved", counter.lines())
	ip := p.status().Network.Ip
	p.remove()

	seen := map[string]bool{ip: true}
	for i := range 2 {
		rp, ks := restorePod(t, s, dir, func(r *cri.RestorePodRequest) {
			r.Config.Metadata.Name, r.Config.Hostname = fmt.Sprint("again-", i), fmt.Sprint("host-", i)
			r.Config.Metadata.Uid = fmt.Sprint("uid-", i)
		}, counter.config, reader.config)
		again := ks[0]
		if got := rp.status().Network.Ip; seen[got] {
			t.Errorf("address %s is another pod's", got)
		}
		seen[rp.status().Network.Ip] = true
		time.Sleep(200 * time.Millisecond)
		if n := again.lines(); len(n) > 0 {
			t.Errorf("a container that was not started has counted %v", n)
		}
		again.start()
		eventually(t, "the restored counter counts", func() bool { return len(again.lines()) > 5 })
		n := again.lines()
		inARow(t, "restored pod", n)
		if n[0] < 10 || n[0] > saved+1 {
			t.Errorf("restored counter begins at %d, it was saved at about %d", n[0], saved)
		}
		file := strings.Fields(again.exec("head -n 20 /tmp/open; tail -n 1 /tmp/open"))
		if file[0] != "1" || len(file) != 21 {
			t.Errorf("open file of the restored counter: %q", file)
		}
		equal(t, "hostname", again.exec("hostname; cat /etc/hostname"), fmt.Sprintf("host-%d\nhost-%d", i, i))
		now := again.exec("echo $PPID; cat /proc/sys/kernel/random/boot_id; cat /sys/class/net/eth0/address")
		if strings.Fields(now)[2] == strings.Fields(pids)[2] || seen[strings.Fields(now)[2]] {
			t.Errorf("MAC is another pod's: %s", now)
		}
		seen[strings.Fields(now)[2]] = true
		random := again.exec("head -c 16 /dev/urandom | od -An -tx1")
		if seen[random] {
			t.Errorf("random bytes %s came twice", random)
		}
		seen[random] = true
		if d := time.Since(time.Unix(mustInt(t, again.exec("date +%s")), 0)); d < -2*time.Second || d > 2*time.Second {
			t.Errorf("clock is off by %v", d)
		}
		if got := again.exec("ip -4 addr show eth0 2>/dev/null | grep -c 'inet '"); got != "1" && got != "0" {
			t.Errorf("addresses: %s", got)
		}
	}
}

func mustInt(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantCheckpointError wants an error of a code that says something, and nothing in the folder.
func wantCheckpointError(t *testing.T, what, dir string, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %v with %q", what, err, code, text)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("%s left %v", what, left)
	}
}

func wantCode(t *testing.T, what string, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %v with %q", what, err, code, text)
	}
}
