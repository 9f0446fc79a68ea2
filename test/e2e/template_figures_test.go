package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/testneed"
)

// TestTemplate_Many clones one pod after the other, each of which runs a container.
func TestTemplate_Many(t *testing.T) {
	testneed.Long(t)
	n := 20
	if v, err := strconv.Atoi(os.Getenv("PORTHOLE_TEST_PODS")); err == nil {
		n = v
	}
	s := ownServer(t, serverConfig{vm: `template = "on"`})
	var took []time.Duration
	for i := range n {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			begin := time.Now()
			p := runPod(t, s)
			took = append(took, time.Since(begin))
			if id, failure := p.template(); id == "" {
				t.Errorf("no clone: %s", failure)
			}
			if got := p.output("works", "echo works"); got != "works" {
				t.Errorf("output %q", got)
			}
		})
	}
	slices.Sort(took)
	t.Logf("%d clones: RunPodSandbox median %v, longest %v", n, took[n/2], took[n-1])
}

// TestTemplate_Figures measures pods that are clones next to pods that boot, in turn on one
// machine: it fails when clones are not faster and smaller. docs/performance.md has what
// it prints.
func TestTemplate_Figures(t *testing.T) {
	testneed.Long(t)
	const rounds = 10
	names := []string{"boot", "clone"}
	servers := map[string]*server{
		"boot":  ownServer(t, serverConfig{vm: `template = "off"`}),
		"clone": ownServer(t, serverConfig{vm: `template = "on"`}),
	}
	sandboxes, outputs := map[string][]time.Duration{}, map[string][]time.Duration{}
	pss := map[string][]int{}
	for i := range rounds + 1 {
		for _, name := range names {
			s := servers[name]
			s.pull(t, env.registry.sample)
			begin := time.Now()
			p := runPod(t, s, func(c *cri.PodSandboxConfig) { c.Metadata.Name = fmt.Sprintf("%s-%d", name, i) })
			ran := time.Since(begin)
			idle := qemuMemory(t, s)
			begin = time.Now()
			k := p.start(sh("first", "echo here; exec sleep 600"))
			k.await("here\n")
			if i > 0 { // the first warms caches
				sandboxes[name] = append(sandboxes[name], ran)
				outputs[name] = append(outputs[name], time.Since(begin))
				pss[name] = append(pss[name], idle)
			}
			if id, failure := p.template(); (id != "") != (name == "clone") {
				t.Fatalf("pod of %s is a clone of %q (%s)", name, id, failure)
			}
			p.remove()
		}
		slices.Reverse(names)
	}
	for _, name := range names {
		for _, d := range []map[string][]time.Duration{sandboxes, outputs} {
			slices.Sort(d[name])
		}
		slices.Sort(pss[name])
		t.Logf("%s: RunPodSandbox median %v, longest %v; create and start to output %v; PSS of the only idle VM %d KiB", name,
			sandboxes[name][rounds/2], sandboxes[name][rounds-1], outputs[name][rounds/2], pss[name][rounds/2])
	}
	// Half of it is usual with Debian's kernel; the small one boots faster.
	if c, b := sandboxes["clone"][rounds/2], sandboxes["boot"][rounds/2]; c >= b {
		t.Errorf("RunPodSandbox takes %v with clones and %v with boots", c, b)
	}

	// Side by side, clones share the template's pages.
	const many = 5
	for _, name := range names {
		for i := range many {
			runPod(t, servers[name], func(c *cri.PodSandboxConfig) { c.Metadata.Name = fmt.Sprintf("%s-beside-%d", name, i) })
		}
		t.Logf("%s: PSS of %d idle VMs side by side %d KiB each", name, many, qemuMemory(t, servers[name])/many)
	}
	for _, c := range wantTemplates(t, servers["clone"]).Status.Classes {
		t.Logf("template of %d CPU, %d MiB holds %d KiB", c.VCPUs, c.MemoryMiB, c.Bytes>>10)
	}
}

// qemuMemory is the proportional set size of a server's QEMUs in KiB.
func qemuMemory(t *testing.T, s *server) int {
	t.Helper()
	sum := 0
	for _, pid := range vmPIDs(t, s) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); f[0] == "Pss:" {
				n, err := strconv.Atoi(f[1])
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
		}
	}
	return sum
}

// await waits for the container's output, looking often: the time counts.
func (k *container) await(want string) {
	k.t.Helper()
	ctx := testContext(k.t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for k.stdout() != want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			k.t.Fatalf("output is %q, want %q", k.stdout(), want)
		}
	}
}

// TestTemplate_FreedMemory measures what is left of memory that a pod has used and freed:
// a VM that booted gives it back, a clone keeps it.
func TestTemplate_FreedMemory(t *testing.T) {
	testneed.Long(t)
	const used = 60 << 10 // KiB, in a pod's /dev/shm
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, how := range []string{"off", "on"} {
		s := ownServer(t, serverConfig{vm: fmt.Sprintf("template = %q", how)})
		k := runPod(t, s).start(sh("user", "exec sleep 600"))
		k.exec("true")
		before := qemuMemory(t, s)
		k.exec("dd if=/dev/zero of=/dev/shm/used bs=1M count=60 2>/dev/null")
		during := qemuMemory(t, s)
		k.exec("rm /dev/shm/used")
		after, end := qemuMemory(t, s), time.Now().Add(20*time.Second)
		for during-after < used/2 && time.Now().Before(end) {
			<-tick.C
			after = qemuMemory(t, s)
		}
		t.Logf("template %s: PSS %d KiB before, %d while %d were used, %d after", how, before, during, used, after)
		if during-before < used/2 {
			t.Errorf("template %s: %d KiB more while %d were used", how, during-before, used)
		}
		if gave := during-after >= used/2; gave != (how == "off") {
			t.Errorf("template %s: of %d KiB it gave %d back", how, used, during-after)
		}
	}
}
