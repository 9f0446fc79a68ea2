package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// TestCheckpoint_Again saves a pod whose VM booted, under a daemon that is killed in between,
// and saves what was restored once more: with a terminal, and with what is typed into it.
func TestCheckpoint_Again(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `template = "off"`})
	p := runPod(t, s)
	c := sh("shell", `read name; echo hello $name; read again; echo and $again; exec sleep 100000`)
	c.Stdin = true
	k := p.start(c)
	term := sh("sleeper", "test -t 1 && exec sleep 100000")
	term.Tty = true
	second := p.start(term)
	dir := p.checkpoint(k, second)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	p.remove()
	other := func(name string) func(*cri.RestorePodRequest) {
		return func(r *cri.RestorePodRequest) { r.Config.Metadata.Name, r.Config.Metadata.Uid = name, name }
	}
	mid, ks := restorePod(t, s, dir, other("middle"), k.config, second.config)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ks[0].start()
	ks[1].start()
	attachOnce(t, s, ks[0].id, "one\n", "hello one")
	equal(t, "exec in a restored container", ks[1].exec("echo $((6*7))"), "42")
	again := mid.checkpoint(ks...)
	mid.remove()
	last, ks := restorePod(t, s, again, other("last"), k.config, second.config)
	ks[0].start()
	ks[1].start()
	attachOnce(t, s, ks[0].id, "two\n", "and two")
	if got := ks[0].logText("stdout"); !strings.Contains(got, "and two") {
		t.Errorf("log of the last pod: %q", got)
	}
	// It is a pod like others: another container, an exit, its end.
	more := last.start(sh("more", "exit 7"))
	if code := more.wait().ExitCode; code != 7 {
		t.Errorf("a new container in a restored pod exited with %d", code)
	}
	if _, err := s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: ks[1].id, Timeout: 1}); err != nil {
		t.Error(err)
	}
	if code := ks[1].wait().ExitCode; code != 137 && code != 143 {
		t.Errorf("a restored container that was stopped exited with %d", code)
	}
	ks[1].remove()
	if st := ks[0].stats(); st.GetMemory().GetWorkingSetBytes().GetValue() == 0 {
		t.Errorf("stats of a restored container: %v", st)
	}
}

// attachOnce types a line into a container and waits for its answer.
func attachOnce(t *testing.T, s *server, id, line, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := s.Crictl(ctx, "attach", "-i", id)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, line); err != nil {
		t.Error(err)
	}
	eventually(t, "the container answers "+want, func() bool {
		if strings.Contains(out.String(), "rpc error") {
			t.Fatalf("crictl attach: %s", out.String())
		}
		return strings.Contains(out.String(), want)
	})
	cancel()
	_ = cmd.Wait() // it was killed
}

// syncBuffer is what a command writes while it is looked at.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestCheckpoint_Refused: nothing is left of what is refused, and the pod goes on.
func TestCheckpoint_Refused(t *testing.T) {
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	k := p.start(sh("counter", countScript))
	dir := t.TempDir()
	call := func(change func(*cri.CheckpointPodRequest)) error {
		r := &cri.CheckpointPodRequest{PodSandboxId: p.id, OutputPath: dir, ContainerIds: []string{k.id}}
		change(r)
		_, err := s.CheckpointPod(testContext(t), r)
		return err
	}
	wantCheckpointError(t, "options", dir, call(func(r *cri.CheckpointPodRequest) { r.Options = map[string]string{"fast": "yes"} }), codes.InvalidArgument, "fast")
	wantCheckpointError(t, "no path", dir, call(func(r *cri.CheckpointPodRequest) { r.OutputPath = "" }), codes.InvalidArgument, "output_path")
	wantCheckpointError(t, "no containers", dir, call(func(r *cri.CheckpointPodRequest) { r.ContainerIds = nil }), codes.InvalidArgument, "container_ids")
	wantCheckpointError(t, "foreign container", dir, call(func(r *cri.CheckpointPodRequest) { r.ContainerIds = []string{"abc"} }), codes.NotFound, "abc")
	wantCheckpointError(t, "no pod", dir, call(func(r *cri.CheckpointPodRequest) { r.PodSandboxId = "0123" }), codes.NotFound, "0123")
	_, err := s.CheckpointPod(context.Background(), &cri.CheckpointPodRequest{PodSandboxId: p.id, OutputPath: dir, ContainerIds: []string{k.id}})
	wantCheckpointError(t, "no deadline", dir, err, codes.InvalidArgument, "deadline")
	short, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if _, err := s.CheckpointPod(short, &cri.CheckpointPodRequest{PodSandboxId: p.id, OutputPath: dir, ContainerIds: []string{k.id}}); err != nil {
		eventually(t, "what was saved too late is gone", func() bool {
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			return len(left) == 0
		})
		n := len(k.lines())
		eventually(t, "the pod goes on", func() bool { return len(k.lines()) > n+3 })
	}
	n := len(k.lines())
	eventually(t, "the pod goes on", func() bool { return len(k.lines()) > n+3 })
	inARow(t, "pod of which nothing was saved", k.lines())

	good := p.checkpoint(k)
	p.remove()
	restore := func(dir string, change func(*cri.RestorePodRequest)) error {
		r := &cri.RestorePodRequest{CheckpointPath: dir, Config: podConfig(t), ContainerConfigs: []*cri.ContainerConfig{k.config}}
		change(r)
		_, err := s.RestorePod(testContext(t), r)
		return err
	}
	same := func(*cri.RestorePodRequest) {}
	edit := func(name string, f func([]byte) []byte) string {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, name), string(f([]byte(read(t, filepath.Join(good, name))))))
		return to
	}
	wantCode(t, "options", restore(good, func(r *cri.RestorePodRequest) { r.Options = map[string]string{"a": ""} }), codes.InvalidArgument, `"a"`)
	wantCode(t, "handler", restore(good, func(r *cri.RestorePodRequest) { r.RuntimeHandler = "nosuch" }), codes.InvalidArgument, "nosuch")
	wantCode(t, "names", restore(good, func(r *cri.RestorePodRequest) { r.ContainerConfigs = []*cri.ContainerConfig{sh("other", "")} }), codes.FailedPrecondition, "other")
	wantCode(t, "command", restore(good, func(r *cri.RestorePodRequest) { r.ContainerConfigs = []*cri.ContainerConfig{sh("counter", "exit")} }), codes.FailedPrecondition, "command and args")
	wantCode(t, "nothing", restore(t.TempDir(), same), codes.NotFound, "no checkpoint")
	wantCode(t, "cut state", restore(edit("vm.vmrs", func(b []byte) []byte { return b[:len(b)/2] }), same), codes.DataLoss, "vm.vmrs is damaged")
	wantCode(t, "changed disk", restore(edit("scratch.sparse", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), same), codes.DataLoss, "scratch.sparse is damaged")
	wantCode(t, "cut manifest", restore(edit("manifest.json", func(b []byte) []byte { return b[:100] }), same), codes.DataLoss, "damaged")
	// One of another guest: whoever made it, its manifest is in order.
	foreign := edit("manifest.json", func(b []byte) []byte { return resealed(t, b, `"initrd":"`, `"initrd":"f`) })
	wantCode(t, "another guest", restore(foreign, same), codes.FailedPrecondition, "initrd")
	foreign = edit("manifest.json", func(b []byte) []byte { return resealed(t, b, `QEMU emulator`, `BOCHS emulator`) })
	wantCode(t, "another QEMU", restore(foreign, same), codes.FailedPrecondition, "BOCHS")
	pods, err := s.ListPodSandbox(testContext(t), &cri.ListPodSandboxRequest{})
	if err != nil || len(pods.Items) > 0 {
		t.Errorf("pods after what was refused: %v, %v", pods, err)
	}
}

// resealed changes a manifest and gives it the digest that it has then.
func resealed(t *testing.T, b []byte, old, now string) []byte {
	t.Helper()
	var m struct {
		Version    int             `json:"version"`
		SHA256     string          `json:"sha256"`
		Checkpoint json.RawMessage `json:"checkpoint"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	body := strings.Replace(string(m.Checkpoint), old, now, 1)
	if body == string(m.Checkpoint) {
		t.Fatalf("manifest has no %s", old)
	}
	m.Checkpoint = json.RawMessage(body)
	m.SHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte(body)))
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
