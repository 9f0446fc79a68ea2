package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// spareCounts is what the server's pool has done.
type spareCounts struct {
	Spares int
	Counts struct{ Hits, Misses, Made, Failed, Ended int }
}

func poolOf(t *testing.T, s *server) spareCounts {
	t.Helper()
	r, err := s.Status(testContext(t), &cri.StatusRequest{Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Status spareCounts }
	if err := json.Unmarshal([]byte(r.Info["spares"]), &out); err != nil {
		t.Fatal(err)
	}
	return out.Status
}

func awaitSpares(t *testing.T, s *server, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d spare VMs are ready", n), func() bool { return poolOf(t, s).Spares == n })
}

// TestSpares: pods get VMs that were there before they asked, and are as good as others;
// spares that die are replaced, and a daemon that was killed leaves none to the next. That
// none is left at the end, ownServer sees to.
func TestSpares(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `spares = "2"`})
	awaitSpares(t, s, 2)
	if got := len(vmPIDs(t, s)); got != 2 {
		t.Fatalf("%d VMs run, want the 2 spares", got)
	}
	first, second := runPod(t, s, func(c *cri.PodSandboxConfig) { c.Hostname = "first" }),
		runPod(t, s, func(c *cri.PodSandboxConfig) { c.Metadata.Name = "second" })
	if got := poolOf(t, s).Counts; got.Hits != 2 || got.Misses != 0 {
		t.Errorf("two pods: %+v, want 2 hits", got)
	}
	tell := "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; hostname"
	a, b := first.start(sh("a", "sleep 1000")), second.start(sh("b", "sleep 1000"))
	one, two := strings.Split(a.exec(tell), "\n"), strings.Split(b.exec(tell), "\n")
	if one[0] == two[0] || one[1] == two[1] || one[2] != "first" {
		t.Errorf("the pods tell %q and %q", one, two)
	}
	b.exec("ping -c 1 -W 5 " + first.status().Network.Ip)
	if left := a.exec("ls -A /; cat /proc/self/mountinfo; ps -o args"); strings.Contains(left, "warm") {
		t.Errorf("something of the warm-up is left: %q", left)
	}
	awaitSpares(t, s, 2)

	// One dies.
	pods := map[int]bool{}
	for _, p := range []*pod{first, second} {
		pids, err := s.VMs(p.id)
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			pods[pid] = true
		}
	}
	for _, pid := range vmPIDs(t, s) {
		if !pods[pid] {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	eventually(t, "a spare that was killed is replaced", func() bool {
		p := poolOf(t, s)
		return p.Spares == 2 && p.Counts.Ended == 1
	})

	// The daemon is killed: the next one ends the spares, and keeps the pods.
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	awaitSpares(t, s, 2)
	if got := len(vmPIDs(t, s)); got != 4 {
		t.Errorf("%d VMs run after a crash of the daemon, want 2 pods and 2 spares", got)
	}
	if got := a.exec("hostname"); got != "first" {
		t.Errorf("the first pod answers %q", got)
	}
	if env.windows != nil {
		endSpares(t, s, 2)
	}
}

// TestSpares_Hung stops the processors of all spares: pods do not wait for them, and those that
// no pod asked for are replaced.
func TestSpares_Hung(t *testing.T) {
	s := ownServer(t, serverConfig{vm: `spares = "2"`})
	awaitSpares(t, s, 2)
	hung := vmPIDs(t, s)
	freeze(t, hung)
	begun := time.Now()
	p := runPod(t, s)
	took := time.Since(begun)
	t.Logf("RunPodSandbox with a spare that hangs took %v", took.Round(time.Millisecond))
	if took > 40*time.Second {
		t.Errorf("RunPodSandbox took %v: it waited for a spare that hangs", took)
	}
	if got := p.start(sh("a", "sleep 1000")).exec("echo there"); got != "there" {
		t.Errorf("the pod says %q", got)
	}
	eventually(t, "both spares that hang are gone", func() bool {
		for _, pid := range vmPIDs(t, s) {
			if slices.Contains(hung, pid) {
				return false
			}
		}
		return poolOf(t, s).Spares == 2
	})
	if env.windows != nil {
		endSpares(t, s, 1)
	}
}

// endSpares starts a daemon that is to have no spares beside the pods, which ends those of the one before. A daemon under Wine
// is ended by killing it alone, and leaves its own.
func endSpares(t *testing.T, s *server, pods int) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(read(t, s.ConfigPath), `spares = "2"`, `spares = "off"`, 1)
	write(t, s.ConfigPath, config)
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the spares of the daemon before are ended", func() bool { return len(vmPIDs(t, s)) == pods })
}
